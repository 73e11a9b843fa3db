// The page: takes pictures from wherever a person has them, hands them to the worker one after another, and shows the answers as they come.
import {OTHER, found, moved} from './infer.js'

const app = document.querySelector('.bc-app'), settings = JSON.parse(app.dataset.settings)
const $ = id => document.getElementById(id), grid = app.querySelector('.bc-cards')
const KEEP = 1000 // cards that stay on the page; the oldest go
const PATIENCE = 60_000 // milliseconds for one picture

let card = null // the model's: what its outputs mean
let shown = [] // the cards on the page, newest first: {name, file, box, probs, maps, error}
let removed = [] // what `Undo` brings back
let news = [] // answered since all was last quiet

// Words

const nameOf = label => settings.names[label]
const capital = text => text.charAt(0).toUpperCase() + text.slice(1)
const percent = p => `${Math.round(100*p)}%`
function inWords(labels) {
  const names = labels.map(nameOf), last = names.pop()
  return names.length ? `${names.join(', ')} and ${last}` : last
}
function say(words) { $('status').textContent = words }

// An element with its attributes and what is in it; text is never read as HTML.
function make(tag, attributes = {}, ...children) {
  const res = Object.assign(document.createElement(tag), attributes)
  res.append(...children.filter(c => c !== null))
  return res
}

// The worker

let worker, isReady = false, busy = null, timer, queue = []

// A worker stands under the policy that came with its file. The service worker sends one; for a first visit, a worker that is made of
// a text here takes over that of this page.
const FILE = new URL('worker.js', import.meta.url), TEXT = new Blob([`import ${JSON.stringify(FILE)}`], {type: 'text/javascript'})
let source = navigator.serviceWorker?.controller ? FILE : URL.createObjectURL(TEXT)

function startWorker() {
  worker?.terminate()
  isReady = false
  worker = new Worker(source, {type: 'module'})
  worker.onmessage = ({data}) => heard(data)
  worker.onerror = e => {
    e.preventDefault()
    if (busy) return gaveUp('This file could not be read: what opens pictures broke down over it. Save it as a JPEG and try that.')
    if (isReady || source === FILE) return failed(e.message)
    source = FILE
    startWorker()
  }
  worker.postMessage({settings})
}

function heard(data) {
  if (data.progress) return loading(`Getting the model ready: ${(data.progress/2**20).toFixed(1)} of ${(settings.weight/2**20).toFixed(1)} MB…`)
  if (data.failed) return failed(data.failed)
  if (data.ready) return ready(data.card)
  clearTimeout(timer)
  const {file: _, ...answered} = busy
  Object.assign(busy, data, {id: answered.id})
  told(busy)
  busy = null
  next()
}

function ready(itsCard) {
  const first = !card
  card = itsCard
  isReady = true
  document.body.dataset.ready = 'true'
  $('loading').hidden = true
  next()
  if (first) navigator.serviceWorker?.register('sw.js').catch(() => {}) // keeps the page for later; it works without
}

function failed(reason) {
  const again = make('button', {type: 'button', className: 'bc-plain', textContent: 'Try again', onclick: () => { loading('Getting the model ready…'); startWorker() }})
  loading(`The model can not be made ready (${reason ?? 'no network?'}). `, again)
}

function loading(...words) {
  $('loading').hidden = false
  $('loading').replaceChildren(...words)
}

// The next picture in turn, if the worker is there and free.
function next() {
  if (!isReady || busy) return
  do busy = queue.shift() ?? null; while (busy && !shown.includes(busy) && !removed.some(r => r.card === busy))
  if (!busy) return
  timer = setTimeout(gaveUp, PATIENCE, `This file takes more than ${PATIENCE/1000} seconds to read; save it as a smaller JPEG and try that.`)
  worker.postMessage({id: busy.id, file: busy.file})
}

// A worker that hangs or broke down is replaced; the others go on.
function gaveUp(words) {
  startWorker()
  heard({error: words})
}

// Cards

let taken = 0
function take(files) {
  if (!files.length) return
  const fresh = files.slice(0, KEEP).map(file => ({id: ++taken, name: file.webkitRelativePath || file.name, file}))
  for (const c of fresh) {
    draw(c)
    queue.push(c)
  }
  shown = [...fresh, ...shown]
  for (const c of shown.splice(KEEP)) forget(c)
  grid.prepend(...fresh.map(c => c.box))
  removed = []
  arrange()
  say(files.length > KEEP ? `Looking at the first ${KEEP} of ${files.length} pictures…` : fresh.length > 1 ? `Looking at ${fresh.length} pictures…` : `Looking at ${fresh[0].name}…`)
  if (fresh[0].box.getBoundingClientRect().top > innerHeight/2)
    app.querySelector('.bc-answers').scrollIntoView({behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'})
  next()
}

// The box of a new card: the picture at once, as the browser shows it; the answer when it comes.
function draw(c) {
  c.url = URL.createObjectURL(c.file)
  c.img = make('img', {src: c.url, alt: `Your picture ${c.name}`, onerror: () => { c.picture.hidden = true }, onload: () => { c.picture.hidden = false }})
  c.picture = make('div', {className: 'bc-picture'}, c.img)
  c.answer = make('div', {}, make('p', {className: 'bc-wait', textContent: 'Looking…'}))
  const x = make('button', {type: 'button', className: 'bc-remove', ariaLabel: `Remove ${c.name}`, textContent: '×', onclick: () => remove([c])})
  c.box = make('article', {className: 'bc-card'}, c.picture, make('p', {className: 'bc-name', textContent: c.name}), c.answer, x)
}

function forget(c) {
  URL.revokeObjectURL(c.url)
  c.box.remove()
}

// What the worker said of a card.
function told(c) {
  if (c.thumbnail) { // small and upright; the file itself need not be held any longer
    URL.revokeObjectURL(c.url)
    c.img.src = c.url = URL.createObjectURL(c.thumbnail)
  }
  c.box.dataset.seconds = c.seconds ?? ''
  c.file = c.thumbnail = null
  fill(c)
  news.push(c)
  arrange()
  const waiting = queue.filter(q => shown.includes(q)).length
  if (waiting) return say(`${waiting} more to look at…`)
  say(news.length < 4 ? news.map(n => `${n.name}: ${n.error ?? headline(n)[0] + '.'}`).join(' ') : `${news.length} files are answered.`)
  news = []
}

const thresholds = () => card.multi_label ? moved(card.thresholds, Number($('sure').value)) : null
const labelsOf = c => found(c.probs, thresholds(), card.labels)
const kindsOf = labels => labels.filter(k => k !== OTHER)

// The answer in a few words, and a sentence where these words are that nothing was found.
function headline(c) {
  const labels = labelsOf(c), kinds = kindsOf(labels)
  if (kinds.length) return [capital(inWords(kinds)), '']
  const sentence = `The model looked for ${inWords(settings.kinds)}, and is not sure enough of any.${labels.length ? ' It takes this for something else.' : ''}`
  return [settings.bears ? 'No bear found' : 'Nothing found', sentence]
}

// The lower half of a card.
function fill(c) {
  if (c.error) return c.answer.replaceChildren(make('p', {className: 'bc-refused', textContent: c.error}))
  const labels = labelsOf(c), counts = thresholds(), [head, sentence] = headline(c)
  const bars = card.labels.map((label, i) => bar(label, c.probs[i], counts?.[label], labels.includes(label)))
  const where = c.maps ? kindsOf(labels).map(label => whereButton(c, label)) : []
  c.answer.replaceChildren(make('h2', {textContent: head}), ...(sentence ? [make('p', {textContent: sentence})] : []),
                           make('ul', {className: 'bc-bars'}, ...bars), make('div', {className: 'bc-where'}, ...where))
  showMap(c, labels.includes(c.shown) ? c.shown : null)
}

// A line with the probability of one label.
function bar(label, p, threshold, isFound) {
  const full = make('b'), mark = threshold === undefined ? null : make('i')
  full.style.width = `${100*p}%`
  if (mark) mark.style.left = `${100*threshold}%`
  const track = make('span', {className: 'bc-bar', ariaHidden: 'true'}, full, mark), hidden = words => make('span', {className: 'bc-hidden', textContent: words})
  return make('li', {className: isFound ? 'bc-found' : ''}, make('span', {textContent: nameOf(label)}), track, make('span', {className: 'bc-percent', textContent: percent(p)}),
              mark && hidden(`, counts from ${percent(threshold)}`), isFound ? hidden(', found') : null)
}

function whereButton(c, label) {
  return make('button', {type: 'button', textContent: `Where: ${nameOf(label)}`, value: label, ariaPressed: 'false', onclick: () => showMap(c, c.shown === label ? null : label)})
}

// Dim the picture where nothing speaks for `label`.
function showMap(c, label) {
  c.shown = label
  c.picture.querySelector('canvas')?.remove()
  for (const b of c.answer.querySelectorAll('.bc-where button')) b.ariaPressed = String(b.value === label)
  if (!label) return
  const {rows, columns, values} = c.maps[card.labels.indexOf(label)], dim = new ImageData(columns, rows)
  values.forEach((v, i) => { dim.data[4*i + 3] = (1 - v)*180 })
  const canvas = make('canvas', {className: 'bc-map', width: columns, height: rows})
  canvas.getContext('2d').putImageData(dim, 0, 0)
  c.picture.append(canvas)
}

// Show the tools that there is something to use on.
function arrange() {
  app.classList.toggle('bc-has-cards', shown.length > 0)
  app.querySelector('.bc-tools').hidden = !shown.length
  app.querySelector('.bc-sure').hidden = app.querySelector('.bc-note').hidden = !(card?.multi_label && shown.some(c => c.probs))
  $('csv').hidden = !shown.some(c => c.probs || c.error)
  $('undo').hidden = !removed.length
}

function remove(cards) {
  removed = cards.map(c => ({card: c, before: shown[shown.indexOf(c) + 1]})).reverse()
  shown = shown.filter(c => !cards.includes(c))
  for (const c of cards) c.box.remove()
  say(cards.length > 1 ? `${cards.length} pictures are removed.` : `${cards[0].name} is removed.`)
  arrange()
  $('undo').focus()
}

function undo() {
  for (const {card: c, before} of removed) {
    shown.splice(before ? shown.indexOf(before) : shown.length, 0, c)
    grid.insertBefore(c.box, before?.box ?? null)
  }
  say(removed.length > 1 ? `${removed.length} pictures are back.` : `${removed[0].card.name} is back.`)
  removed = []
  arrange()
  app.querySelector('.bc-choose').focus()
  next()
}

// The slider

function movedTo() {
  const words = $('sure').dataset.words.split('|')[Number($('sure').value) - Number($('sure').min)]
  app.querySelector('.bc-sure b').textContent = words
  $('sure').setAttribute('aria-valuetext', words)
}

function movedBy() {
  movedTo()
  const answered = shown.filter(c => c.probs)
  answered.forEach(fill)
  say(`Something is found in ${answered.filter(c => kindsOf(labelsOf(c)).length).length} of ${answered.length} pictures.`)
}

// The table of all answers, as `bearclf app` writes it

function csv() {
  const quoted = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  const plain = name => /^\s*[=+\-@＝＋－＠]/.test(name) ? `'${name}` : name // no spreadsheet may take a file's name for a formula
  const rows = shown.filter(c => c.probs || c.error).map(c => c.error ? [plain(c.name), '', ...card.labels.map(() => ''), c.error]
    : [plain(c.name), labelsOf(c).join(';'), ...c.probs.map(p => p.toFixed(6)), ''])
  const text = [['file', 'labels', ...card.labels, 'error'], ...rows].map(row => row.map(quoted).join(',') + '\r\n').join('')
  const url = URL.createObjectURL(new Blob(['\ufeff', text], {type: 'text/csv'})) // the mark at its start tells Excel that it is UTF-8
  make('a', {href: url, download: settings.bears ? 'bears.csv' : 'answers.csv'}).click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

// Where pictures come from

const isPicture = file => file.type.startsWith('image/') || /\.(jpe?g|jpe|jfif|mpo|png|webp|gif|bmp|dib|tiff?|jp2|j2k|p[bgpn]m|avif|hei[cf])$/i.test(file.name)

// The pictures in a folder that was dropped, and in those below it, by name.
async function inside(entry) {
  if (entry.isFile) return new Promise((done, fail) => entry.file(file => done(isPicture(file) && !file.name.startsWith('.') ? [file] : []), fail)).catch(() => [])
  const reader = entry.createReader(), entries = []
  for (let some; (some = await new Promise((done, fail) => reader.readEntries(done, fail)).catch(() => [])).length;) entries.push(...some)
  entries.sort((a, b) => a.name < b.name ? -1 : 1)
  return (await Promise.all(entries.filter(e => !e.name.startsWith('.')).map(inside))).flat()
}

// A picture that is in its address itself (data:...). Others are not fetched: this page asks nobody for anything.
function fromAddress(address) {
  const [, type, coded, body] = /^data:(image\/[\w.+-]+)[^,]*?(;base64)?,(.*)$/is.exec(address) ?? []
  if (!type) return null
  try { return new File([coded ? Uint8Array.from(atob(decodeURIComponent(body)), b => b.charCodeAt(0)) : decodeURIComponent(body)], 'picture', {type}) } catch { return null }
}

async function takeDropped(transfer) {
  const items = [...transfer.items].filter(i => i.kind === 'file'), entries = items.map(i => i.webkitGetAsEntry?.()), files = [...transfer.files]
  const address = transfer.getData('text/uri-list').split(/\r?\n/).find(line => line && !line.startsWith('#')) ?? transfer.getData('text/plain')
  if (entries.some(e => e?.isDirectory)) {
    const all = (await Promise.all(entries.map((e, i) => e?.isDirectory ? inside(e) : [files[i]]))).flat()
    return all.length ? take(all) : say('There are no pictures in this folder.')
  }
  if (files.length) return take(files)
  const file = fromAddress(address)
  if (file) return take([file])
  if (address) say('That is the address of a picture, and this page fetches nothing from elsewhere. Copy the picture itself and paste it here, or save it and choose the file.')
}

function listen() {
  for (const button of app.querySelectorAll('[data-picks]')) button.onclick = () => $(button.dataset.picks).click()
  for (const id of ['files', 'camera', 'folder']) $(id).onchange = ({target}) => {
    const files = [...target.files], pictures = id === 'folder' ? files.filter(isPicture) : files
    target.value = '' // so that the same may be chosen again
    if (files.length && !pictures.length) say('There are no pictures in this folder.')
    take(pictures)
  }
  for (const button of app.querySelectorAll('[data-example]')) button.onclick = async () => {
    const blob = await fetch(button.dataset.example).then(r => r.ok ? r.blob() : null, () => null)
    blob ? take([new File([blob], button.dataset.name, {type: blob.type})]) : say('This drawing can not be fetched; is there a network?')
  }
  addEventListener('paste', e => {
    const files = [...e.clipboardData.files]
    if (!files.length) return
    e.preventDefault()
    take(files)
  })
  addEventListener('dragover', e => { e.preventDefault(); app.classList.add('bc-over') })
  addEventListener('dragleave', e => { if (!e.relatedTarget) app.classList.remove('bc-over') })
  addEventListener('drop', e => { e.preventDefault(); app.classList.remove('bc-over'); takeDropped(e.dataTransfer) })
  $('sure').oninput = movedBy
  $('csv').onclick = csv
  $('clear').onclick = () => remove(shown)
  $('undo').onclick = undo
  addEventListener('keydown', e => { if ((e.ctrlKey || e.metaKey) && e.key === 'z' && removed.length) { e.preventDefault(); undo() } })
}

movedTo()
listen()
arrange()
startWorker()
