// Keeps the page's own files, so that it opens without a network after the first visit. It sees no picture: those never
// are a request.
importScripts('files.js') // FILES, LATER, VERSION, POLICY: written when the site is built

const OURS = `bearclf ${registration.scope} `, CACHE = OURS + VERSION
const at = file => new URL(file, registration.scope).href
const MINE = new Set([...FILES, ...LATER].map(at)) // what else lies below is another page's, or of an older version

addEventListener('install', e => {
  skipWaiting()
  e.waitUntil(caches.open(CACHE).then(cache => cache.addAll(FILES.map(file => new Request(file, {cache: 'no-cache'})))))
})

// The files of the version before stay, for a page that was opened with them.
addEventListener('activate', e => e.waitUntil((async () => {
  const older = (await caches.keys()).filter(name => name.startsWith(OURS) && name !== CACHE)
  for (const name of older.slice(0, -1)) await caches.delete(name)
  await clients.claim()
})()))

// From the cache; what is not there, such as the decoder of HEIC, is fetched and kept. What is gone may be among the
// files of the version before. What is not ours is only passed on.
async function answer(request, file) {
  const none = () => null, mine = MINE.has(file), cache = mine && await caches.open(CACHE).catch(none)
  const kept = cache && await cache.match(file)
  if (kept) return guarded(kept)
  const fresh = await fetch(request).catch(none)
  if (cache && fresh?.status === 200) await cache.put(file, fresh.clone()).catch(none) // the store may be full
  const older = fresh?.ok ? null : await caches.match(file).catch(none)
  if (older) return guarded(older)
  return fresh ? (mine ? guarded(fresh) : fresh) : Response.error()
}

// The worker's own requests stand under the policy of its file, not under that of the page: so every file says it. And
// what opens no other site's window and shows no other site's file may compute by several threads.
function guarded(response) {
  if (!response.status) return response // leads elsewhere
  const headers = new Headers(response.headers)
  headers.set('Content-Security-Policy', POLICY)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  return new Response(response.body, {status: response.status, statusText: response.statusText, headers})
}

addEventListener('fetch', e => {
  const {origin, pathname} = new URL(e.request.url), asked = origin + pathname
  const file = asked === at('index.html') ? at('./') : asked
  if (e.request.method === 'GET' && file.startsWith(registration.scope)) e.respondWith(answer(e.request, file))
})
