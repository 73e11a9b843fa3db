// Who answers pictures: this visitor's process on the server, over a websocket of Jupyter's. Pictures are made small
// first, and go in pieces, each of which is acknowledged: so it is known how far one is, and when the line is dead.
import {AS_STORED, bytesOf, isWhole, kindOf, Refusal, sizeOf, smaller, tooLarge} from './pictures.js'

const PIECE = 2**16 // bytes
const AHEAD = 4 // pieces on their way at a time
const PATIENCE = 30_000 // milliseconds without any sign from the server
const LONGER_SIDE = 2000 // pixels that are sent: the model sees far fewer
const SMALL = 2**18 // bytes that go as they are
const READABLE = 200*2**20 // bytes of a file that is worth looking into
const THUMBNAIL = 480 // pixels

export const AT_ONCE = 2 // one that hangs must not keep the others waiting
export let isReady = false

let given, socket = null, asked = 0, failures = 0
const waiting = new Map() // id -> what hears of it

const config = () => JSON.parse(document.getElementById('jupyter-config-data').textContent)

function address() {
  const {baseUrl, token, wsUrl} = config()
  const url = new URL(`${baseUrl}api/kernels/${given.kernel}/channels`, wsUrl || location)
  url.protocol = url.protocol.replace('http', 'ws')
  url.searchParams.set('session_id', crypto.randomUUID?.() ?? String(Math.random()))
  if (token) url.searchParams.set('token', token)
  return url
}

export function begin(settings, on) {
  given = settings
  document.title = document.querySelector('.bc-app h1').textContent
  if (config().kernelId) document.body.append(document.querySelector('.bc-app'), document.getElementById('lost'))
  isReady = true
  on.ready(given.model)
  watch()
  line()
}

// The open websocket; a new one where there is none. Who waits on one that closes is told.
function line() {
  if (socket && socket.readyState <= WebSocket.OPEN) return socket.opened
  const fresh = socket = new WebSocket(address())
  fresh.binaryType = 'arraybuffer'
  fresh.opened = new Promise((done, fail) => {
    fresh.onopen = () => { failures = 0; done(fresh) }
    fresh.onclose = () => { fail(new Refusal(LOST)); hangUp(fresh) }
  })
  fresh.opened.catch(() => {})
  fresh.onmessage = ({data}) => typeof data === 'string' && heard(JSON.parse(data))
  return fresh.opened
}

const LOST = 'The line to the server was lost while this was on its way. Give it again.'
const DEAD = `The server has not answered for ${PATIENCE/1000} seconds, so this was given up. `
  + 'Give it again on a better line.'

// Close a line, and tell who waits on it; soon there is another.
function hangUp(old, words = LOST) {
  for (const o of waiting.values()) if (o.line === old) o.fail(new Refusal(words))
  old.close()
  if (socket !== old) return
  socket = null
  setTimeout(alive, Math.min(30, 2**failures++)*1000)
}

function heard({header, content}) {
  if (header?.msg_type !== 'comm_msg' || content.comm_id !== given.comm) return
  const said = content.data
  waiting.get(said.id)?.hear(said)
}

// A message to the visitor's process, with bytes, in Jupyter's form for websockets:
// https://jupyter-server.readthedocs.io/en/stable/developers/websocket-protocols.html
function message(data, bytes) {
  const id = `bearclf-${data.id}-${data.at}`
  const header = {msg_id: id, msg_type: 'comm_msg', session: 'bearclf', username: '', version: '5.3'}
  const whole = {header, parent_header: {}, metadata: {}, channel: 'shell', content: {comm_id: given.comm, data}}
  const text = new TextEncoder().encode(JSON.stringify(whole))
  const head = new DataView(new ArrayBuffer(12))
  head.setUint32(0, 2)
  head.setUint32(4, 12)
  head.setUint32(8, 12 + text.length)
  return new Blob([head, text, bytes])
}

// What the server says of the file in `blob`; `wait` is told how far it is.
async function sent(blob, picture, wait) {
  const id = ++asked, open = await line()
  let at = 0, got = 0, timer, done, fail
  const answer = new Promise((resolve, reject) => { [done, fail] = [resolve, reject] })
  const patient = () => { clearTimeout(timer); timer = setTimeout(() => hangUp(open, DEAD), PATIENCE) }
  function push() {
    while (at < Math.max(1, blob.size) && at < got + AHEAD*PIECE) {
      open.send(message({id, at, size: blob.size, picture}, blob.slice(at, at + PIECE)))
      at += PIECE
    }
  }
  function hear(said) {
    patient()
    if (said.answer) return done(said.answer)
    got = said.got
    wait(got < blob.size ? `Sending: ${Math.round(100*got/blob.size)}%` : 'Looking…')
    push()
  }
  waiting.set(id, {hear, fail, line: open})
  patient()
  if (blob.size > PIECE) wait('Sending: 0%')
  push()
  return answer.finally(() => { clearTimeout(timer); waiting.delete(id) })
}

// What `send` gives; where the line breaks meanwhile, on a next one: after a second, two, four and eight.
async function again(send, pause = 1000) {
  try { return await send() } catch (e) {
    if (e.message !== LOST || pause > 8000) throw e
    await new Promise(done => setTimeout(done, pause))
    return again(send, 2*pause)
  }
}

// A large picture as a small one, and a thumbnail. What the browser can't open, and what is cut short, goes as it is:
// then there is no thumbnail, and the server makes one.
async function small(file) {
  if (file.size > READABLE) throw new Refusal(tooLarge(given.maxBytes))
  const bytes = await bytesOf(file), kind = kindOf(bytes), size = kind && sizeOf(kind, bytes)
  const fits = size && size[0]*size[1] <= given.maxPixels && isWhole(kind, bytes)
  const type = `image/${kind}`, no = () => null
  const bitmap = fits && await createImageBitmap(new Blob([bytes], {type}), AS_STORED).catch(no)
  if (!bitmap) return {blob: file}
  try { // old browsers have no such canvas
    const large = file.size > SMALL && Math.max(bitmap.width, bitmap.height) > LONGER_SIDE
    const blob = large || file.size > given.maxBytes ? await smaller(bitmap, LONGER_SIDE, .92) : file
    return {blob, thumbnail: await smaller(bitmap, THUMBNAIL, .85)}
  } catch { return {blob: file} } finally { bitmap.close() }
}

// What is in a file: {probs, maps, thumbnail, note}, or {error}, one sentence.
export async function ask(file, wait) {
  try {
    const {blob, thumbnail} = await small(file)
    if (blob.size > given.maxBytes) throw new Refusal(tooLarge(given.maxBytes))
    const {picture, ...said} = await again(() => sent(blob, !thumbnail, wait))
    return {...said, thumbnail: thumbnail ?? (picture && await (await fetch(picture)).blob())}
  } catch (e) { return {error: e instanceof Refusal ? e.message : `This file could not be sent (${e.message}).`} }
}

// A page that was long asleep may have lost its process; else it needs a line, without which that would be ended.
let looking = false
async function alive() {
  if (looking) return
  looking = true
  const url = `${config().baseUrl}api/kernels/${given.kernel}`, signal = AbortSignal.timeout(10_000)
  const status = await fetch(url, {signal}).then(r => r.status, () => 0)
  looking = false
  const gone = status === 404, lost = document.getElementById('lost')
  if (lost.hidden === gone) lost.hidden = !gone
  if (!gone) line()
}

// Whoever leaves ends the process.
function watch() {
  for (const event of ['visibilitychange', 'click', 'keydown', 'drop', 'online'])
    document.addEventListener(event, () => document.hidden || alive())
  addEventListener('pageshow', e => { if (e.persisted) location.reload() }) // come back to by the browser's button
  const {baseUrl, kernelId} = config()
  const leave = () => navigator.sendBeacon(`${baseUrl}voila/api/shutdown/${kernelId}`) // an address of Voila's
  if (kernelId) addEventListener('pagehide', leave)
}
