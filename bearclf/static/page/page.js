// The page: takes pictures from wherever a person has them, has each looked at in its turn, and shows the answers as
// they come. Who answers is said by engine.js: a worker in this browser, or the process of this visitor on a server.
import {csvOf, found, headline, kindsOf, moved, OTHER, ranked, whereInWords} from './answers.js'
import {isAside, isPicture} from './pictures.js'
import {ask, AT_ONCE, begin, isReady} from './engine.js'

const app = document.querySelector('.bc-app'), settings = JSON.parse(app.dataset.settings)
const $ = id => document.getElementById(id), grid = app.querySelector('.bc-cards')
const KEEP = 1000 // cards that stay on the page; the oldest go

let card = null // the model's: what its outputs mean
let shown = [] // the cards on the page, newest first: {name, file, box, probs, maps, note, error}
let removed = [] // what `Undo` brings back
let queue = [], busy = 0 // cards that wait for their turn, and how many are being looked at
let news = [], aside = '' // answered since all was last quiet, and what was left out

const nameOf = label => settings.names[label]
const percent = p => `${Math.round(100*p)}%`
const number = n => n.toLocaleString('en')
const many = (n, words) => `${number(n)} ${words}${n === 1 ? '' : 's'}`
function say(words) { $('status').textContent = words }

// Says what can't be done, and again with the answers that are still to come.
function complain(words) {
  if (pending()) aside += ` ${words}`
  say(words)
}

function pending() { return queue.filter(c => !isForgotten(c)).length + busy }

// An element with its attributes and what is in it; text is never read as HTML.
function make(tag, attributes = {}, ...children) {
  const res = Object.assign(document.createElement(tag), attributes)
  res.append(...children.filter(c => c))
  return res
}

function button(className, textContent, onclick, more) {
  return make('button', {type: 'button', className, textContent, onclick, ...more})
}

// Looking at pictures

const told = {
  loading,
  ready(itsCard) {
    card = itsCard
    document.body.dataset.ready = 'true'
    if (document.activeElement === $('waiting')) app.querySelector('.bc-choose').focus()
    $('waiting').hidden = true
    next()
  },
  failed(reason) {
    const again = button('bc-plain', 'Try again', () => {
      $('waiting').focus() // the button goes
      $('waiting').removeAttribute('role')
      loading('Getting the model ready…')
      begin(settings, told)
    })
    const asked = document.activeElement === $('waiting')
    $('waiting').setAttribute('role', 'alert')
    loading(`The model can not be made ready (${reason ?? 'no network?'}). `, again)
    if (asked) again.focus()
  }}

function loading(...words) {
  $('waiting').hidden = false
  $('waiting').replaceChildren(...words)
}

const isForgotten = c => !shown.includes(c) && !removed.some(r => r.card === c)

// The next pictures in turn, if who answers is there and free.
async function next() {
  while (isReady && busy < AT_ONCE && queue.length) {
    const c = queue.shift()
    if (isForgotten(c)) continue
    busy++
    ask(c.file, words => { c.wait.textContent = words }).then(said => answered(c, said))
  }
}

function answered(c, said) {
  busy--
  Object.assign(c, said)
  if (c.thumbnail && !isForgotten(c)) { // small and upright
    URL.revokeObjectURL(c.url)
    c.img.src = c.url = URL.createObjectURL(c.thumbnail)
  }
  c.box.dataset.seconds = c.seconds ?? ''
  c.thumbnail = null
  fill(c)
  if (shown.includes(c)) news.push(c)
  arrange()
  next()
  const left = pending()
  if (!left && !news.length && !aside) return // it was removed meanwhile, which was said
  if (left) return say(`${number(left)} more to look at…${aside}`)
  say(news.length < 4 ? news.map(n => `${n.name}: ${n.error ?? words(n)[0] + '.'}`).join(' ') + aside
                      : `${number(news.length)} files are answered.${aside}`)
  news = []
  aside = ''
}

// Cards

function take(files, leftOut = 0) {
  if (!files.length) return
  if (leftOut) aside += ` Left out: ${many(leftOut, 'file')}, no picture${leftOut === 1 ? '' : 's'}.`
  const name = file => paths.get(file) || file.webkitRelativePath || file.name
  const fresh = files.slice(0, KEEP).map(file => ({name: name(file), file}))
  for (const c of fresh) draw(c)
  queue.push(...fresh)
  for (const r of removed) forget(r.card)
  removed = []
  shown = [...fresh, ...shown]
  const old = shown.splice(KEEP), more = files.length - fresh.length
  for (const c of old) forget(c)
  if (old.length) aside += ` The page keeps ${number(KEEP)}: the oldest ${number(old.length)} made way.`
  if (more) aside += ` Left out: ${number(more)} beyond the first ${number(KEEP)}; `
    + 'download the answers to these, then give the others.'
  fold(fresh)
  grid.prepend(...fresh.map(c => c.box))
  arrange()
  say((fresh.length > 1 ? `Looking at ${number(fresh.length)} pictures…` : `Looking at ${fresh[0].name}…`) + aside)
  scrollToAnswers(fresh[0].box)
  next()
}

function scrollToAnswers(box) {
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches
  if (box.getBoundingClientRect().top > innerHeight/2)
    app.querySelector('.bc-answers').scrollIntoView({behavior: still ? 'auto' : 'smooth'})
}

// The box of a new card: the picture at once, as the browser shows it; the answer when it comes.
function draw(c) {
  c.url = URL.createObjectURL(c.file)
  c.img = make('img', {src: c.url, alt: `Your picture ${c.name}`, decoding: 'async',
                       onerror: () => { c.frame.hidden = true }, onload: () => { c.frame.hidden = false }})
  c.enlarge = button('bc-enlarge', '⤢', () => enlarge(c), {ariaLabel: `Enlarge ${c.name}`})
  c.picture = make('div', {className: 'bc-picture', onclick: () => narrow() ? unfold(c) : enlarge(c)}, c.img)
  c.frame = make('div', {className: 'bc-frame'}, c.picture, c.enlarge)
  c.head = make('h3', {textContent: 'Looking…', className: 'bc-wait'})
  c.wait = c.head
  c.toggle = button('bc-toggle', '', () => unfold(c), {ariaLabel: `More of ${c.name}`, ariaExpanded: 'false'})
  c.more = make('div', {className: 'bc-more bc-hold'})
  c.more.style.setProperty('--bc-labels', card?.labels.length ?? 5)
  const name = make('p', {className: 'bc-name', textContent: c.name})
  const title = make('div', {className: 'bc-title'}, c.head, name, c.toggle)
  c.x = button('bc-remove', '×', () => remove([c]), {ariaLabel: `Remove ${c.name}`})
  c.box = make('li', {className: 'bc-card'}, c.frame, title, c.more, c.x)
}

// On a phone cards are lines, opened by a tap; what comes alone is open.
const narrow = () => matchMedia('(max-width: 599px)').matches

function fold(fresh) {
  for (const c of shown) unfold(c, fresh.length === 1 && c === fresh[0])
}

function unfold(c, open = !c.box.classList.contains('bc-open')) {
  c.box.classList.toggle('bc-open', open)
  c.toggle.ariaExpanded = String(open)
}

function forget(c) {
  URL.revokeObjectURL(c.url)
  c.box.remove()
}

const thresholds = () => card?.multi_label ? moved(card.thresholds, Number($('sure').value)) : null
const labelsOf = c => found(c.probs, thresholds(), card.labels)
const words = c => headline(labelsOf(c), settings)

// What a card says.
function fill(c) {
  c.more.classList.remove('bc-hold')
  c.head.className = ''
  if (c.error) {
    c.head.textContent = 'No answer'
    c.frame.classList.add('bc-no')
    return c.more.replaceChildren(make('p', {className: 'bc-refused', textContent: c.error}))
  }
  const labels = labelsOf(c), counts = thresholds(), [head, sentence] = words(c)
  const marked = k => counts && (k !== OTHER || !kindsOf(labels).length) // where the mark decides
  const one = o => bar(o, marked(o.label) ? counts[o.label] : null, labels.includes(o.label))
  const bars = ranked(card.labels, c.probs).map(one)
  const where = c.maps ? kindsOf(labels).map(label => whereButton(c, label)) : []
  c.head.textContent = head
  c.more.replaceChildren(...[c.note, sentence].filter(Boolean).map(textContent => make('p', {textContent})),
                         make('ul', {className: 'bc-bars'}, ...bars), make('div', {className: 'bc-where'}, ...where))
  showMap(c, labels.includes(c.shown) ? c.shown : null)
}

// A line with the probability of one label.
function bar({label, p}, threshold, isFound) {
  const full = make('b'), mark = threshold === null ? null : make('i')
  full.style.width = `${100*p}%`
  if (mark) mark.style.left = `${100*threshold}%`
  const hidden = textContent => make('span', {className: 'bc-hidden', textContent})
  const track = make('span', {className: 'bc-bar', ariaHidden: 'true'}, full, mark)
  return make('li', {className: isFound ? 'bc-found' : ''}, make('span', {textContent: nameOf(label)}), track,
              make('span', {className: 'bc-percent', textContent: percent(p)}),
              mark && hidden(`, counts from ${percent(threshold)}`), isFound && hidden(', found'))
}

const mapOf = (c, label) => c.maps[card.labels.indexOf(label)]

function whereButton(c, label) {
  const place = make('span', {className: 'bc-place', textContent: whereInWords(mapOf(c, label))})
  const show = button('bc-plain', `Where: ${nameOf(label)}, `, () => showMap(c, c.shown === label ? null : label),
                      {value: label, ariaPressed: 'false'})
  show.append(place)
  return show
}

// Dim the picture where nothing speaks for `label`.
function showMap(c, label) {
  c.shown = label
  c.picture.querySelector('canvas')?.remove()
  for (const b of c.more.querySelectorAll('.bc-where button')) b.ariaPressed = String(b.value === label)
  if (label) c.picture.append(shade(mapOf(c, label)))
}

function shade({rows, columns, values}) {
  const dim = new ImageData(columns, rows), canvas = make('canvas', {className: 'bc-map', width: columns, height: rows})
  values.forEach((v, i) => { dim.data[4*i + 3] = (1 - v)*180 })
  canvas.getContext('2d').putImageData(dim, 0, 0)
  return canvas
}

// The picture as large as the screen, with what is shown of where. Of a file that the browser can't open, or that was
// cut short, there is the small one.
function enlarge(c) {
  const whole = c.note ? c.url : URL.createObjectURL(c.file), close = $('close')
  const fall = () => { if (img.src !== c.url) img.src = c.url }
  const img = make('img', {src: whole, alt: `Your picture ${c.name}`, onerror: fall})
  const picture = make('div', {className: 'bc-picture'}, img, c.shown ? shade(mapOf(c, c.shown)) : null)
  $('large').replaceChildren(close, picture, make('p', {className: 'bc-name', textContent: c.name}))
  $('large').onclose = () => { if (whole !== c.url) URL.revokeObjectURL(whole); picture.remove(); c.enlarge.focus() }
  $('large').showModal()
}

// Show the tools that there is something to use on.
function arrange() {
  app.classList.toggle('bc-has-cards', shown.length > 0)
  app.classList.toggle('bc-has-note', shown.some(c => c.probs))
  app.querySelector('.bc-tools').hidden = !shown.length
  app.querySelector('.bc-empty').hidden = shown.length > 0
  const marks = !card || card.multi_label
  app.querySelector('.bc-sure').hidden = app.querySelector('.bc-note').hidden = !(marks && shown.some(c => !c.error))
  $('csv').disabled = !shown.some(c => c.probs || c.error)
  $('undo').hidden = !removed.length
}

function remove(cards) {
  for (const r of removed) forget(r.card)
  removed = cards.map(c => ({card: c, before: shown[shown.indexOf(c) + 1]})).reverse()
  const at = shown.indexOf(cards[0])
  shown = shown.filter(c => !cards.includes(c))
  for (const c of cards) c.box.remove()
  say(cards.length > 1 ? `${number(cards.length)} pictures are removed.` : `${cards[0].name} is removed.`)
  arrange()
  if (shown.length) shown[Math.min(at, shown.length - 1)].x.focus() // one's place in the list
  else $('undo').focus()
}

function undo() {
  for (const {card: c, before} of removed) {
    shown.splice(before ? shown.indexOf(before) : shown.length, 0, c)
    grid.insertBefore(c.box, before?.box ?? null)
    if (c.probs) fill(c) // the slider may have been moved
  }
  say(removed.length > 1 ? `${number(removed.length)} pictures are back.` : `${removed[0].card.name} is back.`)
  const {card: c} = removed.splice(0).at(-1) // the uppermost
  arrange()
  c.x.focus()
  next()
}

// The slider, and the table

const sure = () => $('sure').dataset.words.split('|')[Number($('sure').value) - Number($('sure').min)]

function movedTo() {
  app.querySelector('.bc-sure b').textContent = sure()
  $('sure').setAttribute('aria-valuetext', sure())
}

function movedBy() {
  movedTo()
  const answered = shown.filter(c => c.probs)
  answered.forEach(fill)
  const seen = answered.filter(c => kindsOf(labelsOf(c)).length).length
  if (answered.length) say(`Something is found in ${number(seen)} of ${many(answered.length, 'picture')}.`)
}

function save() {
  const text = csvOf(shown.filter(c => c.probs || c.error), card.labels, thresholds(), sure())
  const url = URL.createObjectURL(new Blob(['\ufeff', text], {type: 'text/csv'})) // the mark tells Excel: UTF-8
  make('a', {href: url, download: settings.bears ? 'bears.csv' : 'answers.csv'}).click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

// Where pictures come from

const paths = new WeakMap() // file -> its path in the folder that was dropped

// What is in a folder that was dropped, and in those below it, by name; null for what can't be read.
async function inside(entry) {
  const asked = how => new Promise((done, fail) => how(done, fail))
  try {
    if (entry.isFile) {
      const file = await asked((done, fail) => entry.file(done, fail))
      paths.set(file, entry.fullPath.slice(1))
      return [file]
    }
    const reader = entry.createReader(), entries = []
    for (let some; (some = await asked((done, fail) => reader.readEntries(done, fail))).length;) entries.push(...some)
    entries.sort((a, b) => a.name < b.name ? -1 : 1)
    return (await Promise.all(entries.filter(e => !isAside(e.name)).map(inside))).flat()
  } catch { return [null] }
}

function takePicturesOf(all, certain = []) {
  const files = all.filter(Boolean), pictures = [...certain, ...files.filter(isPicture)]
  const unread = all.length - files.length
  if (!pictures.length) return complain(`There are no pictures${unread ? ' that can be read' : ''} in this folder.`)
  if (unread) aside += ` Left out: ${number(unread)} that can not be read.`
  take(pictures, certain.length + files.length - pictures.length)
}

// A picture that is in its address itself (data:...). Others are not fetched: this page asks nobody for anything.
function fromAddress(address) {
  const [, type, coded, body] = /^data:(image\/[\w.+-]+)[^,]*?(;base64)?,(.*)$/is.exec(address) ?? []
  if (!type) return null
  try {
    const text = decodeURIComponent(body)
    return new File([coded ? Uint8Array.from(atob(text), b => b.charCodeAt(0)) : text], 'picture', {type})
  } catch { return null }
}

const ELSEWHERE = 'That is the address of a picture, and this page fetches nothing from elsewhere. '
  + 'Copy the picture itself and paste it here, or save it and choose the file.'

async function takeDropped(transfer) {
  const items = [...transfer.items].filter(i => i.kind === 'file'), files = [...transfer.files]
  const entries = items.map(i => i.webkitGetAsEntry?.()), isFolder = i => entries[i]?.isDirectory
  const lines = transfer.getData('text/uri-list').split(/\r?\n/)
  const address = lines.find(line => line && !line.startsWith('#')) ?? transfer.getData('text/plain')
  if (entries.some((_, i) => isFolder(i))) {
    const found = await Promise.all(entries.filter(e => e?.isDirectory).map(inside))
    return takePicturesOf(found.flat(), files.filter((_, i) => !isFolder(i)))
  }
  if (files.length) return take(files)
  const file = fromAddress(address)
  if (file) take([file])
  else if (address) complain(ELSEWHERE)
}

async function takeExample(button) {
  const blob = await fetch(button.querySelector('img').src).then(r => r.ok ? r.blob() : null, () => null)
  if (blob) take([new File([blob], button.dataset.name, {type: blob.type})])
  else complain('This drawing can not be fetched; is there a network?')
}

function pasted(e) {
  const files = [...e.clipboardData.files], text = e.clipboardData.getData('text/plain').trim()
  const file = fromAddress(text)
  if (!files.length && !file) return /^https?:\S+$/i.test(text) && complain(ELSEWHERE)
  e.preventDefault()
  take(files.length ? files : [file])
}

function chosen({target}) {
  const files = [...target.files]
  target.value = '' // so that the same may be chosen again
  if (target.id === 'folder') takePicturesOf(files.filter(f => !f.webkitRelativePath.split('/').slice(1).some(isAside)))
  else take(files)
}

function listen() {
  for (const b of app.querySelectorAll('[data-picks]')) b.onclick = () => $(b.dataset.picks).click()
  for (const b of app.querySelectorAll('[data-example]')) b.onclick = () => takeExample(b)
  for (const id of ['files', 'camera', 'folder']) $(id).onchange = chosen
  const over = is => app.classList.toggle('bc-over', is)
  addEventListener('paste', pasted)
  addEventListener('dragover', e => { e.preventDefault(); over(true) })
  addEventListener('dragleave', e => { if (!e.relatedTarget) over(false) })
  addEventListener('drop', e => { e.preventDefault(); over(false); takeDropped(e.dataTransfer) })
  Object.assign($('sure'), {oninput: movedBy})
  Object.assign($('csv'), {onclick: save})
  Object.assign($('clear'), {onclick: () => remove(shown)})
  Object.assign($('undo'), {onclick: undo})
  $('close').onclick = () => $('large').close()
  $('large').onclick = e => { if (e.target === $('large')) $('large').close() } // beside the picture
  addEventListener('keydown', e => {
    if (e.repeat && e.target.classList.contains('bc-remove')) e.preventDefault() // one at a time
    if (!((e.ctrlKey || e.metaKey) && e.key === 'z' && removed.length)) return
    e.preventDefault()
    undo()
  })
}

movedTo()
listen()
arrange()
begin(settings, told)
