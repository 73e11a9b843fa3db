// What kernels.c does, for JavaScript: its memory, and threads that share the work.
import {Refusal} from './pictures.js'

const WORDS = 2, NUMBERS = 31, FIRST = 8*(1 + NUMBERS) // the memory begins with two whole numbers and one job

const TOO_LARGE = 'This picture is too large for the memory of this browser. Save it smaller and try that.'

// The code of the kernels that this browser can run: `fast` needs relaxed SIMD.
export const fitting = (fast, plain) => WebAssembly.validate(fast) ? fast : plain

// Memory that threads can share. It grows up to `maximum`, in pages of 64 KB; some phones allow less.
function shared(maximum = 32768) {
  try { return new WebAssembly.Memory({initial: 16, maximum, shared: true}) }
  catch (e) {
    if (maximum < 4096) throw e
    return shared(maximum/2)
  }
}

// All of `n` helpers, or none if one does not start.
async function startHelpers(n, job) {
  const helpers = Array.from({length: n}, () => new Worker(new URL('helper.js', import.meta.url), {type: 'module'}))
  const ready = helpers.map((helper, i) => new Promise((done, failed) => {
    helper.onmessage = done
    helper.onerror = failed
    helper.postMessage({...job, i: i + 1})
  }))
  const late = new Promise((_, failed) => setTimeout(failed, 5000))
  try { await Promise.race([Promise.all(ready), late]) }
  catch {
    for (const helper of helpers) helper.terminate()
    return []
  }
  return helpers
}

export class Kernels {
  // `code` are the bytes of the module; `threads` may be more than one where memory can be shared.
  static async load(code, threads) {
    const memory = shared(), module = await WebAssembly.compile(code)
    const {exports} = await WebAssembly.instantiate(module, {env: {memory}})
    return new Kernels(memory, exports, await startHelpers(threads - 1, {module, memory}))
  }

  constructor(memory, exports, helpers) {
    Object.assign(this, {memory, exports, helpers, threads: helpers.length + 1, names: Object.keys(exports)})
    Object.assign(this, {job: jobIn(memory), kept: FIRST, end: FIRST, free: []})
  }

  // A place in the memory, of at least `size` bytes: one that is free again, or a new one.
  take(size) {
    const fits = this.free.filter(o => o.size >= size).sort((a, b) => a.size - b.size)[0]
    if (fits) return this.free.splice(this.free.indexOf(fits), 1)[0]
    const place = {at: this.end, size: Math.ceil(size/16)*16}, left = this.memory.buffer.byteLength - this.end
    try { if (left < place.size) this.memory.grow(Math.ceil((place.size - left)/65536)) }
    catch { throw new Refusal(TOO_LARGE) }
    this.end += place.size
    return place
  }

  give(place) { this.free.push(place) }

  // All that was taken up to now stays; all that was taken since then is gone.
  keep() { this.kept = this.end }
  reset() { [this.end, this.free] = [this.kept, []] }

  view(Type, at, length) { return new Type(this.memory.buffer, at, length) }

  // No more is done here.
  close() { for (const helper of this.helpers) helper.terminate() }

  // Call a kernel for `n` rows, pixels or whatever it counts, with these arguments.
  call(name, n, ...args) {
    const {words, numbers} = this.job, together = name === 'pointwise' ? 4 : 1 // so many are done at once
    const share = Math.ceil(n/this.threads/together)*together
    if (this.threads > 1) {
      numbers.set([this.names.indexOf(name), n, share, ...args])
      Atomics.store(words, 1, this.threads - 1)
      Atomics.add(words, 0, 1)
      Atomics.notify(words, 0)
    }
    this.exports[name](0, Math.min(n, share), ...args)
    while (Atomics.load(words, 1)); // wait for the helpers: their shares are as large
  }
}

// Where the job stands: its number and how many helpers are not done; the kernel, its n, a thread's share, arguments.
function jobIn(memory) {
  return {words: new Int32Array(memory.buffer, 0, WORDS), numbers: new Float64Array(memory.buffer, 8, NUMBERS)}
}

// What helper.js does, for ever: its share of each job.
export async function help({module, memory, i}, ready) {
  const {exports} = await WebAssembly.instantiate(module, {env: {memory}})
  const kernels = Object.values(exports), {words, numbers} = jobIn(memory)
  let done = Atomics.load(words, 0)
  ready()
  for (;; done++) {
    while (Atomics.load(words, 0) === done) Atomics.wait(words, 0, done) // it may be woken for a job that it has done
    const [name, n, share, ...args] = numbers
    if (i*share < n) kernels[name](i*share, Math.min(n, (i + 1)*share), ...args)
    Atomics.sub(words, 1, 1)
  }
}
