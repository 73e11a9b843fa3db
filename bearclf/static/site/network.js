// Runs a network in eight bits as `bearclf site` writes it: what takes long is done by kernels.c, all else here.
//
// A value is either {height, width, channels, at}, bytes in the memory of the kernels, pixel by pixel, each less 128;
// or {dims, data}, floats, or what else ONNX has, as ONNX has it, plane by plane.

import {normalised} from './infer.js'

const count = dims => dims.reduce((a, b) => a*b, 1)

export const files = ['network.bin.gz']

// `content` is the network's file, an ArrayBuffer: the length of its head, its head as JSON, its numbers.
export function load(card, kernels, content) {
  const network = new Network(card, kernels, content), hasMaps = String(card.resize) === String(card.size)
  const said = network.run(firstPicture(card)), near = (x, y) => Math.abs(x - y) < .25
  if (!Object.entries(network.expected).every(([name, values]) => values.every((x, i) => near(x, said[name].data[i]))))
    throw new Error('this browser computes other answers than it should')
  return pixels => {
    const {logits, whole, evidence} = network.run(pixels)
    return {logits, whole, evidence: hasMaps ? evidence : undefined}
  }
}

// `first_picture` in Python, as the network sees it.
function firstPicture({resize: [rh, rw], size: [h, w]}) {
  const top = Math.floor((rh - h)/2), left = Math.floor((rw - w)/2)
  return Uint8Array.from({length: 4*h*w}, (_, i) => {
    const y = top + Math.floor(i/4/w), x = left + Math.floor(i/4) % w
    return (y*x + 85*(i % 4)) % 256
  })
}

class Network {
  constructor(card, kernels, content) {
    const length = new DataView(content).getUint32(0, true), numbers = new Uint8Array(content, 4 + length)
    const head = new TextDecoder().decode(new Uint8Array(content, 4, length))
    const {steps, constants, outputs, expected} = JSON.parse(head)
    const base = kernels.take(numbers.length).at
    kernels.view(Uint8Array, base).set(numbers)
    kernels.keep()
    Object.assign(this, {steps, outputs, expected, kernels, base})
    this.constants = Object.entries(constants).map(([name, {dims, at}]) =>
      [name, {dims, data: new Float32Array(numbers.slice(at, at + 4*count(dims)).buffer)}])
    this.lastUse = new Map(steps.flatMap((s, i) => s.inputs.map(name => [name, i])))
    this.tables = [0, 1, 2].map(c => // what the network has for each of 256 steps of red, green, blue
      Int8Array.from({length: 256}, (_, v) => toByte(normalised(v, card.mean[c], card.std[c]), steps[0])))
  }

  // What the network says of a picture, given as pixels of four bytes.
  run(pixels) {
    const values = new Map([...this.constants, ['image', pixels]])
    this.steps.forEach((step, i) => {
      const inputs = step.inputs.map(name => values.get(name))
      values.set(step.output, OPS[step.op](inputs, step, this))
      inputs.forEach((o, j) => { if (o.place && this.lastUse.get(step.inputs[j]) === i) this.kernels.give(o.place) })
    })
    return Object.fromEntries(this.outputs.map(name => [name, values.get(name)]))
  }

  // Place for bytes; kernels take four pixels at a time, so there is place for three more.
  bytes([channels, height, width]) {
    const place = this.kernels.take((height*width + 3)*channels)
    return {height, width, channels, place, at: place.at}
  }

  view({at, height, width, channels}) { return this.kernels.view(Int8Array, at, height*width*channels) }

  // Where the kernels find the numbers that a step has.
  at(step, ...names) { return names.map(name => this.base + step[name]) }
}

const toByte = (value, {scale, zero}) => Math.max(-128, Math.min(127, halfToEven(value/scale) + zero))
const BIG = 12582912 // as in kernels.c
const halfToEven = x => Math.fround(Math.fround(x) + BIG) - BIG

// How many there are before, along and after an axis.
function around(dims, axis) { return [count(dims.slice(0, axis)), dims[axis], count(dims.slice(axis + 1))] }

const changed = (dims, axis, n) => dims.map((d, i) => i === axis ? n : d)

const positive = (axis, dims) => axis < 0 ? axis + dims.length : axis

const each = f => ([{dims, data}]) => ({dims, data: data.map(f)})

// A function of two values, each repeated along the axes that only the other one has.
const both = f => ([a, b]) => {
  const n = Math.max(a.dims.length, b.dims.length), longer = o => [...Array(n - o.dims.length).fill(1), ...o.dims]
  const of_a = longer(a), of_b = longer(b), dims = of_a.map((d, i) => Math.max(d, of_b[i]))
  const data = new Float32Array(count(dims))
  const fill = (axis, to, from_a, from_b) => {
    if (axis === n) return void (data[to] = f(a.data[from_a], b.data[from_b]))
    const [step, step_a, step_b] = [dims, of_a, of_b].map(d => count(d.slice(axis + 1)))
    for (let i = 0; i < dims[axis]; i++)
      fill(axis + 1, to + i*step, from_a + (of_a[axis] > 1 ? i*step_a : 0), from_b + (of_b[axis] > 1 ? i*step_b : 0))
  }
  if (String(of_a) !== String(of_b)) fill(0, 0, 0, 0)
  else for (let i = 0; i < data.length; i++) data[i] = f(a.data[i], b.data[i])
  return {dims, data}
}

// One value of all along some axes.
const along = f => ([x, axes], {keepdims = 1}) => {
  let {dims, data} = x
  for (const axis of [...axes.data].map(a => positive(a, x.dims)).sort((a, b) => b - a)) {
    const [before, n, after] = around(dims, axis), from = data
    const value = i => f(Array.from({length: n}, (_, j) => from[(Math.floor(i/after)*n + j)*after + i % after]))
    data = Float32Array.from({length: before*after}, (_, i) => value(i))
    dims = dims.flatMap((d, i) => i !== axis ? d : keepdims ? 1 : [])
  }
  return {dims, data}
}

const sum = values => values.reduce((a, b) => a + b, 0)

// Those of an axis that begin at `first`, `n` of them, `step` apart.
function sliced({dims, data}, axis, first, n, step) {
  const [before, all, after] = around(dims, axis), res = new data.constructor(before*n*after)
  for (let i = 0, to = 0; i < before; i++) for (let j = 0; j < n; j++)
    for (let k = 0, from = (i*all + first + j*step)*after; k < after; k++) res[to++] = data[from++]
  return {dims: changed(dims, axis, n), data: res}
}

// For each axis of a Slice: the axis, where it begins, how many there are, how far apart.
function* rangesOf(dims, [starts, ends, axes, steps]) {
  for (const [i, axis] of axes.data.entries()) {
    const n = dims[positive(axis, dims)], step = steps?.data[i] ?? 1
    const [first, end] = [starts, ends].map(o => Math.min(n, o.data[i] < 0 ? o.data[i] + n : o.data[i]))
    yield [positive(axis, dims), first, Math.ceil((end - first)/step), step]
  }
}

const OPS = {
  // With bytes
  Picture([pixels], {shape}, net) {
    const y = net.bytes(shape), to = net.view(y), [red, green, blue] = net.tables
    for (let i = 0, from = 0; i < to.length; from++) {
      to[i++] = red[pixels[from++]]
      to[i++] = green[pixels[from++]]
      to[i++] = blue[pixels[from++]]
    }
    return y
  },
  Pointwise([x], step, net) {
    const {shape: [outs, height, width], side, stride, pads: [top, left], length, fill, zero} = step
    const y = net.bytes(step.shape), isPlain = side === 1 && stride === 1
    const all = isPlain ? x : net.bytes([length, height, width])
    if (!isPlain) net.kernels.call('gathered', height, x.at, x.height, x.width, x.channels, width, side, stride, top,
                                   left, fill, length, all.at)
    net.kernels.call('pointwise', height*width, all.at, length, outs,
                     ...net.at(step, 'weights', 'more', 'bias', 'scale'), zero, y.at)
    if (!isPlain) net.kernels.give(all.place)
    return y
  },
  Depthwise([x], step, net) {
    const {shape: [n, height, width], side, stride, pads: [top, left, bottom, right], fill, zero} = step
    const y = net.bytes(step.shape), framed = net.bytes([n, x.height + top + bottom, x.width + left + right])
    const pairs = Math.ceil(side*side/2), offsets = net.kernels.take(8*pairs)
    const offset = i => (Math.floor(i/side)*framed.width + i % side)*n, last = side*side - 1
    net.kernels.view(Int32Array, offsets.at, 2*pairs).forEach((_, i, all) => { all[i] = offset(Math.min(i, last)) })
    net.kernels.call('framed', framed.height, x.at, x.height, x.width, n, top, left, right, fill, framed.at)
    net.kernels.call('depthwise', height, framed.at, framed.width, n, width, stride, offsets.at, pairs,
                     ...net.at(step, 'weights', 'bias', 'scale'), zero, y.at)
    for (const place of [framed.place, offsets]) net.kernels.give(place)
    return y
  },
  Pooled([x], {shape, side, stride, scales, zeros}, net) {
    const y = net.bytes(shape)
    net.kernels.call('pooled', y.height, x.at, x.width, x.channels, y.width, side, stride, ...scales, ...zeros, y.at)
    return y
  },
  Added([a, b], {shape, scales, rest}, net) {
    const y = net.bytes(shape)
    net.kernels.call('added', count(shape)/8, a.at, b.at, ...scales, rest, y.at)
    return y
  },
  Sliced([x], {shape, slices}, net) {
    let part = {dims: [x.height, x.width, x.channels], data: net.view(x)}
    for (const [axis, first, n, step] of slices) part = sliced(part, axis - 1, first, n, step)
    const y = net.bytes(shape)
    net.view(y).set(part.data)
    return y
  },
  ToFloats([x], {scale, zero}, net) {
    const from = net.view(x), n = x.channels, area = x.height*x.width, data = new Float32Array(from.length)
    for (let c = 0, to = 0; c < n; c++) for (let i = 0; i < area; i++) data[to++] = (from[i*n + c] - zero)*scale
    return {dims: [1, n, x.height, x.width], data}
  },

  // With floats
  Add: both((a, b) => a + b), Sub: both((a, b) => a - b), Mul: both((a, b) => a*b), Div: both((a, b) => a/b),
  Relu: each(x => Math.max(0, x)), Log: each(Math.log),
  ReduceSum: along(sum), ReduceMean: along(v => sum(v)/v.length),
  Softmax([x], {axis}) {
    const [before, n, after] = around(x.dims, positive(axis, x.dims)), data = x.data.slice()
    for (let i = 0; i < before; i++) for (let k = 0; k < after; k++) {
      const first = i*n*after + k, end = first + n*after
      let top = -Infinity, all = 0
      for (let at = first; at < end; at += after) top = Math.max(top, data[at])
      for (let at = first; at < end; at += after) all += data[at] = Math.exp(data[at] - top)
      for (let at = first; at < end; at += after) data[at] /= all
    }
    return {dims: x.dims, data}
  },
  Conv([x, weights, bias]) { // of 1 x 1
    const [, ins, height, width] = x.dims, outs = weights.dims[0], area = height*width
    const data = new Float32Array(outs*area)
    for (let n = 0; n < outs; n++) {
      const to = data.subarray(n*area, (n + 1)*area).fill(bias?.data[n] ?? 0)
      for (let c = 0; c < ins; c++) {
        const weight = weights.data[n*ins + c]
        if (weight) for (let i = 0, from = c*area; i < area; i++) to[i] += weight*x.data[from++]
      }
    }
    return {dims: [1, outs, height, width], data}
  },
  Resize([x], {rows, columns}) { // linear, corners upon corners
    const spread = ({dims, data}, axis, to) => {
      const [before, n, after] = around(dims, axis), step = (n - 1)/Math.max(1, to - 1)
      const res = new Float32Array(before*to*after)
      for (let i = 0; i < before; i++) for (let j = 0; j < to; j++) {
        const first = Math.floor(j*step), far = j*step - first
        const from = (i*n + first)*after, next = far ? from + after : from
        for (let k = 0; k < after; k++) res[(i*to + j)*after + k] = data[from + k]*(1 - far) + data[next + k]*far
      }
      return {dims: changed(dims, axis, to), data: res}
    }
    return spread(spread(x, 2, rows), 3, columns)
  },
  Slice([x, ...which]) {
    for (const range of rangesOf(x.dims, which)) x = sliced(x, ...range)
    return x
  },
  MatMul([a, b]) { // matrices by one matrix
    const [n, columns] = b.dims, rows = a.data.length/n, data = new Float32Array(rows*columns)
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++)
      for (let k = 0; k < n; k++) data[i*columns + j] += a.data[i*n + k]*b.data[k*columns + j]
    return {dims: [...a.dims.slice(0, -1), columns], data}
  },
  Concat(parts, {axis}) {
    const at = positive(axis, parts[0].dims), dims = changed(parts[0].dims, at, sum(parts.map(p => p.dims[at])))
    const [before] = around(dims, at), data = new Float32Array(count(dims))
    let to = 0
    for (let i = 0; i < before; i++) for (const part of parts) {
      const n = part.data.length/before
      data.set(part.data.subarray(i*n, (i + 1)*n), to)
      to += n
    }
    return {dims, data}
  },
  Reshape([x, {data: shape}]) {
    const dims = [...shape].map((d, i) => d || x.dims[i]), rest = -x.data.length/count(dims)
    return {dims: dims.map(d => d < 0 ? rest : d), data: x.data}
  },
}
