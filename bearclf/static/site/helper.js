// A thread that does its share of what kernels.js calls.
import {help} from './kernels.js'

onmessage = ({data}) => help(data, () => postMessage('ready'))
