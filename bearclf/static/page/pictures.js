// Open a file that a person gave: is it a picture, how large, and its pixels. What is none gets one sentence, a
// `Refusal`. Sentences and limits are those of bearclf/pictures.py.

export class Refusal extends Error {}

const NAMES = {tiff: 'TIFF', jp2: 'JPEG 2000', ppm: 'PPM', heic: 'HEIC', avif: 'AVIF', bmp: 'BMP', webp: 'WebP'}
const HEIF = ['heic', 'heix', 'hevc', 'hevx', 'heim', 'heis', 'mif1', 'msf1']

// What the first bytes say: 'jpeg', 'png'...; nothing if it is no picture. A file's name is not believed.
export function kindOf(bytes) {
  const text = String.fromCharCode(...bytes.subarray(0, 12)), starts = s => text.startsWith(s)
  if (starts('\xff\xd8\xff')) return 'jpeg'
  if (starts('\x89PNG\r\n\x1a\n')) return 'png'
  if (starts('GIF8')) return 'gif'
  if (starts('RIFF') && text.slice(8) === 'WEBP') return 'webp'
  if (starts('BM')) return 'bmp'
  if (starts('II*\0') || starts('MM\0*')) return 'tiff'
  if (starts('\0\0\0\x0cjP  ') || starts('\xff\x4f\xff\x51')) return 'jp2'
  if (/^P[1-6]\s/.test(text)) return 'ppm'
  if (text.slice(4, 8) !== 'ftyp') return null
  const brand = text.slice(8)
  return brand.startsWith('avi') ? 'avif' : HEIF.includes(brand) ? 'heic' : null
}

// Width and height by the header, before anything is decoded: a few bytes may claim a picture that no device can hold.
// Nothing if they are not found.
export function sizeOf(kind, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  try {
    if (kind === 'png') return [view.getUint32(16), view.getUint32(20)]
    if (kind === 'gif') return [view.getUint16(6, true), view.getUint16(8, true)]
    if (kind === 'bmp' && view.getUint32(14, true) === 12) return [view.getUint16(18, true), view.getUint16(20, true)]
    if (kind === 'bmp') return [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))]
    if (kind === 'jpeg') return sizeOfJpeg(view)
    if (kind === 'webp') return sizeOfWebp(view)
    if (kind === 'avif' || kind === 'heic') return sizeOfBoxes(view)
  } catch (e) { if (!(e instanceof RangeError)) throw e } // the file ends first
  return null
}

function sizeOfJpeg(view) {
  for (let at = 2; ; at += 2 + view.getUint16(at + 2)) {
    while (view.getUint8(at) === 0xff && view.getUint8(at + 1) === 0xff) at++ // fill bytes
    const marker = view.getUint8(at + 1)
    if (view.getUint8(at) !== 0xff || marker === 0xda) return null
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)
    if (frame) return [view.getUint16(at + 7), view.getUint16(at + 5)]
  }
}

function sizeOfWebp(view) {
  const chunk = view.getUint32(12)
  const fourteen = at => view.getUint16(at, true) & 0x3fff
  if (chunk === 0x56503820) return [fourteen(26), fourteen(28)] // 'VP8 '
  const bits = view.getUint32(21, true), three = at => 1 + view.getUint16(at, true) + 65536*view.getUint8(at + 2)
  if (chunk === 0x5650384c) return [1 + (bits & 0x3fff), 1 + (bits >>> 14 & 0x3fff)] // 'VP8L'
  return [three(24), three(27)] // 'VP8X'
}

// AVIF and HEIC say the size of each image they hold in an 'ispe' box; the largest counts.
function sizeOfBoxes(view) {
  let best = null
  for (let at = 0; at < Math.min(view.byteLength - 16, 65536); at++) {
    if (view.getUint32(at) !== 0x69737065) continue
    const size = [view.getUint32(at + 8), view.getUint32(at + 12)]
    if (!best || size[0]*size[1] > best[0]*best[1]) best = size
  }
  return best
}

// Is the end of the picture there?
export function isWhole(kind, bytes) {
  const has = (a, b, from) => {
    for (let i = bytes.indexOf(a, from); i >= 0; i = bytes.indexOf(a, i + 1)) if (bytes[i + 1] === b) return i
    return -1
  }
  if (kind === 'jpeg') { // the mark of the end, after that of the scan: a thumbnail in the header has one too
    let at = 2
    const length = () => 256*bytes[at + 2] + bytes[at + 3]
    while (bytes[at] === 0xff && bytes[at + 1] !== 0xda && at < bytes.length)
      at += bytes[at + 1] === 0xff ? 1 : 2 + length() // fill bytes
    return has(0xff, 0xd9, at) >= 0
  }
  if (kind === 'png') return hasEnd(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  return true
}

// Has a PNG its last chunk? Anything may follow.
function hasEnd(view) {
  for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at))
    if (view.getUint32(at + 4) === 0x49454e44) return true
  return false
}

// What systems and network disks put into folders, by `is_system` and `is_litter` of bearclf/pictures.py, and
// what is hidden.
const SYSTEM = new Set(['@eadir', '@tmp', '@recycle', '@recently-snapshot', '#recycle', '#snapshot', '$recycle.bin',
  'recycler', 'system volume information', 'network trash folder', 'temporary items', '__macosx', '__pycache__',
  'thumbs.db', 'desktop.ini'])
export const isAside = name => name.startsWith('.') || SYSTEM.has(name.toLowerCase())

export const isPicture = file => file.type.startsWith('image/')
  || /\.(jpe?g|jpe|jfif|mpo|png|webp|gif|bmp|dib|tiff?|jp2|j2k|p[bgpn]m|avif|hei[cf]|hif)$/i.test(file.name)

export const DAMAGED = 'This file is damaged or cut short.'
const END = new Uint8Array([0xff, 0xd9]) // of a JPEG

export function tooLarge(maxBytes) {
  const megabytes = Math.round(maxBytes/2**20)
  return `This file is too large: a picture may have up to ${megabytes} MB. Save it smaller and try that.`
}

// The bytes of `file`.
export async function bytesOf(file) {
  try { return new Uint8Array(await file.arrayBuffer()) }
  catch { throw new Refusal('This can not be read: it is a folder, or is not there any more.') }
}

// The pixels of `file` as an ImageBitmap, upright, and the file's kind. Colours are taken as they are stored, as Python
// takes them. Of a JPEG that was cut short (`cut`) there is what there is, and grey below.
export async function open(file, {maxBytes, maxPixels, heic}) {
  if (file.size > maxBytes) throw new Refusal(tooLarge(maxBytes))
  const bytes = await bytesOf(file)
  if (!bytes.length) throw new Refusal('This file is empty.')
  const kind = kindOf(bytes), size = kind && sizeOf(kind, bytes)
  if (!kind) throw new Refusal('This file is not a picture in a format that can be read (JPEG, PNG, WebP, HEIC...).')
  if (size && size[0]*size[1] > maxPixels)
    throw new Refusal(`This file has more than ${maxPixels.toLocaleString('en')} pixels, the limit.`)
  const cut = !isWhole(kind, bytes)
  if (cut && kind !== 'jpeg') throw new Refusal(DAMAGED)
  return {kind, cut, bitmap: await decoded(kind, cut ? [bytes, END] : [bytes], heic)}
}

export const AS_STORED = {imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none'}

async function decoded(kind, parts, heic) {
  try { return await createImageBitmap(new Blob(parts, {type: `image/${kind}`}), AS_STORED) } catch {}
  if (kind === 'heic' && heic) return heic(parts[0])
  if (['tiff', 'jp2', 'ppm', 'heic'].includes(kind))
    throw new Refusal(`This browser can not open ${NAMES[kind]} pictures. Save it as a JPEG and try that.`)
  throw new Refusal(DAMAGED)
}

// What is there of a JPEG that was cut short, four bytes a pixel, with a sentence: the box outside of which all is the
// grey of nothing. `rest_of` in bearclf/pictures.py does the same.
export function restOf({width, height, data}) {
  let [left, top, right, bottom] = [width, height, 0, 0]
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i += 4) {
    if (data[i] === 128 && data[i + 1] === 128 && data[i + 2] === 128) continue
    left = Math.min(left, x)
    top = Math.min(top, y)
    right = Math.max(right, x + 1)
    bottom = y + 1
  }
  const box = [left, top, right, bottom], share = Math.max(0, right - left)*(bottom - top)/(width*height)
  if (share < .25) throw new Refusal(DAMAGED)
  const much = share > .99 ? '' : `, and ${Math.round(100*share)}% of the picture is there`
  return {box, note: `This file is cut short${much}: the answer is from what is there.`}
}

// The picture as a JPEG file, its longer side at most `side` pixels; white where it is transparent.
export async function smaller(bitmap, side, quality) {
  const scale = Math.min(1, side/Math.max(bitmap.width, bitmap.height))
  const [width, height] = [bitmap.width, bitmap.height].map(n => Math.max(1, Math.round(n*scale)))
  const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext('2d')
  pen.imageSmoothingQuality = 'high'
  pen.fillStyle = 'white'
  pen.fillRect(0, 0, width, height)
  pen.drawImage(bitmap, 0, 0, width, height)
  return canvas.convertToBlob({type: 'image/jpeg', quality})
}
