// Who answers pictures: a worker of this page, which holds the model. One that hangs or breaks down is replaced.

const PATIENCE = 60_000 // milliseconds for one picture

export const AT_ONCE = 1 // pictures that are asked about at the same time
export let isReady = false

let worker, timer, settings, told, done = null

// A worker stands under the policy that came with its file. The service worker sends one; for a first visit, a worker
// that is made of a text here takes over that of this page.
const FILE = new URL('worker.js', import.meta.url)
const TEXT = new Blob([`import ${JSON.stringify(FILE)}`], {type: 'text/javascript'})
let source = navigator.serviceWorker?.controller ? FILE : URL.createObjectURL(TEXT)

// Get ready. `on` is told: loading(words), ready(card), failed(reason).
export function begin(itsSettings, on) {
  [settings, told] = [itsSettings, on]
  start()
}

function start() {
  worker?.terminate()
  isReady = false
  worker = new Worker(source, {type: 'module'})
  worker.onmessage = ({data}) => heard(data)
  worker.onerror = e => {
    e.preventDefault()
    if (done) return gaveUp('This file could not be read: what opens pictures broke down over it. '
                            + 'Save it as a JPEG and try that.')
    if (isReady || source === FILE) return told.failed(e.message)
    source = FILE
    start()
  }
  worker.postMessage({settings})
}

function heard(data) {
  const mb = bytes => (bytes/2**20).toFixed(1)
  if (data.progress) told.loading(`Getting the model ready: ${mb(data.progress)} of ${mb(settings.weight)} MB…`)
  else if (data.failed) told.failed(data.failed)
  else if (data.ready) {
    isReady = true
    told.ready(data.card)
    navigator.serviceWorker?.register('sw.js').catch(() => {}) // keeps the page for later; it works without
  } else answered(data)
}

function answered(data) {
  clearTimeout(timer)
  const tell = done
  done = null
  tell(data)
}

// What is in a file: {probs, maps, thumbnail, note, seconds}, or {error}, one sentence.
export function ask(file) {
  return new Promise(tell => {
    done = tell
    timer = setTimeout(gaveUp, PATIENCE, `This file takes more than ${PATIENCE/1000} seconds to read; `
                                         + 'save it as a smaller JPEG and try that.')
    worker.postMessage({file})
  })
}

// The others go on with another worker.
function gaveUp(words) {
  start()
  answered({error: words})
}
