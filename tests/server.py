"""One HTTP server that speaks as Flickr, Openverse, iNaturalist and Wikimedia Commons do, and fails as told: for tests/test_download.py and
benchmarks/download.py. What a service's documentation (the pages are named in nbs/13_sources.ipynb) does not know, or limits, is an error here."""
import email.utils, functools, gzip, io, json, random, re, socket, sys, threading, time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

from oauthlib.oauth1.rfc5849 import signature
from PIL import Image

from bearclf import pictures
from bearclf.manifest import read_manifest
from bearclf.network import Net
from bearclf.pictures import open_picture, picture_files
from bearclf.sources import Flickr, INaturalist, Openverse, Wikimedia

CC = 'https://creativecommons.org/licenses'
FLICKR_LICENCES = {'0': ('All Rights Reserved', ''), '1': ('Attribution-NonCommercial-ShareAlike License', f'{CC}/by-nc-sa/2.0/'),
                   '2': ('Attribution-NonCommercial License', f'{CC}/by-nc/2.0/'), '3': ('Attribution-NonCommercial-NoDerivs License', f'{CC}/by-nc-nd/2.0/'),
                   '4': ('Attribution License', f'{CC}/by/2.0/'), '5': ('Attribution-ShareAlike License', f'{CC}/by-sa/2.0/'),
                   '7': ('No known copyright restrictions', 'https://www.flickr.com/commons/usage/'), '8': ('United States Government Work', 'http://www.usa.gov/copyright.shtml'),
                   '9': ('Public Domain Dedication (CC0)', 'https://creativecommons.org/publicdomain/zero/1.0/'),
                   '10': ('Public Domain Mark', 'https://creativecommons.org/publicdomain/mark/1.0/'), '11': ('CC BY 4.0', f'{CC}/by/4.0/')}

CODES = 'cc0|cc-by|cc-by-sa|cc-by-nc|cc-by-nd|cc-by-nc-sa|cc-by-nc-nd'
NUMBER, SHORT, DAY = '[1-9][0-9]*', CODES.replace('cc-', '') + '|pdm', r'\d{4}-\d\d-\d\d'
def several(of): return f'({of})(,({of}))*'
# {service: {argument that its documentation knows: what it may be}}
ARGUMENTS = {
    'licenses': {k: '.*' for k in ('method', 'format', 'nojsoncallback')},
    'flickr': {'method': r'flickr\.photos\.search', 'format': 'json', 'nojsoncallback': '1', 'text': '.+', 'license': several('[0-9]+'),
               'sort': '(date-posted|date-taken|interestingness)-(asc|desc)|relevance', 'media': 'all|photos|videos', 'content_types': several('[0-3]'),
               'safe_search': '[123]', 'min_upload_date': r'\d{4}-01-01 00:00:00', 'max_upload_date': r'\d{4}-12-31 23:59:59', 'extras': several('license|owner_name|url_(sq|t|s|q|m|n|z|c|l|o|h|k)'), 'per_page': NUMBER, 'page': NUMBER},
    'totals': {'action': 'query', 'format': 'json', 'formatversion': '2', 'list': 'search', 'srsearch': '.+', 'srnamespace': '6', 'srlimit': '1', 'srinfo': 'totalhits'},
    'openverse': {'q': '.{1,200}', 'license': several(SHORT), 'page': NUMBER, 'page_size': NUMBER},
    'taxa': {'q': '.+', 'is_active': 'true|false|any', 'per_page': NUMBER},
    'autocomplete': {'q': '.+', 'per_page': NUMBER},
    'observations': {'taxon_id': '901', 'quality_grade': 'casual|needs_id|research', 'photos': 'true|false', 'photo_license': several(CODES),
                     'order_by': 'created_at|geo_score|id|observed_on|random|species_guess|updated_at|votes', 'order': 'asc|desc', 'per_page': NUMBER,
                     'page': NUMBER, 'id_below': NUMBER, 'id_above': NUMBER, 'place_id': several(NUMBER), 'd1': DAY, 'd2': DAY,
                     'term_id': several(NUMBER), 'term_value_id': several(NUMBER), 'without_term_value_id': several(NUMBER)},
    'commons': {'action': 'query', 'format': 'json', 'formatversion': '2', 'generator': 'search', 'gsrsearch': '.+', 'gsrnamespace': '6', 'gsrlimit': NUMBER,
                'gsroffset': NUMBER, 'prop': 'imageinfo', 'iiprop': r'url\|size\|extmetadata', 'iiextmetadatafilter': '.+', 'pageids': r'[0-9]+(\|[0-9]+){,49}', 'continue': '.*', 'iicontinue': '.*',
                'iiurlwidth': '20|40|60|120|250|330|500|960|1280|1920|3840'}}
NEEDED = {'commons': {'action', 'format'}, 'flickr': {'method', 'format'}, 'licenses': {'method', 'format'}}

# what structured data on Commons say, as copyright licence (P275) or status (P6216)
SAID = {'CC BY 2.0': 'P275=Q19125117', 'CC BY 4.0': 'P275=Q20007257', 'CC BY-SA 4.0': 'P275=Q18199165', 'CC0': 'P275=Q6938433', 'Public domain': 'P6216=Q19652', 'GFDL': 'P275=Q50829104'}
def licence_of(server, id): return server.licences.get(id, ('CC BY 2.0', ''))[0]

def check(service, q):
    for k, v in q.items(): assert re.fullmatch(ARGUMENTS[service].get(k, ' '), v), f'{service} does not know {k}={v}'
    assert NEEDED.get(service, set()) <= q.keys()

@functools.cache
def picture(id, side, format='JPEG'):
    "A picture of its own for each id: noise, and the id as a comment."
    base = _noise(int(id) % 8, side)
    f = io.BytesIO()
    if format == 'JPEG': return base[:2] + b'\xff\xfe' + (len(id) + 2).to_bytes(2, 'big') + id.encode() + base[2:]
    Image.open(io.BytesIO(base)).save(f, format)
    return f.getvalue()

@functools.cache
def _noise(seed, side):
    f = io.BytesIO()
    Image.frombytes('RGB', (side, side), random.Random(seed).randbytes(3*side*side)).save(f, 'JPEG', quality=60)
    return f.getvalue()

class Server(ThreadingHTTPServer):
    "`n` photographs for each search word but 'nothing'. Ids are numbers, the same in each service: number of the word*10000 + place."
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 128

    def __init__(self, n=12, side=120, latency=0., address='127.0.0.1'):
        super().__init__((address, 0), Handler)
        self.n, self.side, self.latency, self.url = n, side, latency, f'http://{address}:{self.server_address[1]}'
        self.words, self.lock = [], threading.Lock()
        self.faults = {}         # {id of a photograph: [what to do in place of sending it, the first, second... time]}
        self.api_faults = []     # what to do in place of answering the next queries
        self.lacking = set()     # ids of which the services say too little
        self.licence = '4'       # of all photographs, as Flickr's number
        self.licences = {}       # {id: its licence, where it has another: as the service says it}
        self.attributions = {}   # {id: how its photographer wants to be named, on Commons}
        self.overlap = 0         # how many results of a page come on the next one again
        self.asked, self.sent, self.queries, self.agents = Counter(), Counter(), [], set()
        self.patience = 10**9    # queries that are answered before all others get 429
        self.wrong = []          # queries that the service's documentation does not allow
        self.marks = {}          # {id: its annotations on iNaturalist, as (attribute, value, votes)}, where it is not marked as living
        self.days = {}           # {id: when it was seen, where it is not 2024-06-01}
        self.photos = {}         # {id: codes of the licences of the photographs of this observation, where it is not one by cc-by}
        self.nonces = set()      # of signed queries
        self.busy, self.busiest = 0, 0
        self.hosts = []          # names under which the photographs lie, in turn; else our address
        self.rates = {}          # of Openverse: {limit: [how many in what time, how many are left]}
        self.shapes = {}         # {id: (width, height) of the original on Commons, where it is not (4000, 3000)}
        self.years, self.depth = {}, 10_000 # {id: when it was uploaded, where it is not 2024}; results of one search, at most
        self.refusing = set()    # names that refuse every photograph, with 429 and no word of when
        self.extra = {}          # headers of every photograph
        self.heads = []          # (name that was asked, path, headers) of each request
        self.now, self.most = Counter(), Counter()  # {the end of a name: requests at the same time, and the most of them}
        threading.Thread(target=self.serve_forever, args=(.02,), daemon=True).start()

    def ids(self, word):
        "The ids of the photographs of a search word."
        if word == 'nothing': return []
        with self.lock:
            if word not in self.words: self.words.append(word)
            return [str(10000*(self.words.index(word) + 1) + i) for i in range(self.n)]

    def page(self, word, page, per_page, only=lambda id: True):
        "The ids on a page, and whether there is a further page."
        step = max(1, per_page - self.overlap)
        ids = [*filter(only, self.ids(word))]
        if page > 1 and step*(page - 1) >= len(ids): self.wrong.append('a page after the last one was asked for')
        return ids[step*(page - 1):][:per_page], step*(page - 1) + per_page < len(ids)

    def handle_error(self, *_):
        if isinstance(e := sys.exc_info()[1], AssertionError): self.wrong.append(str(e)) # else it is a client that went away

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass

    def send(self, body, status=200, type='application/json', **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        if type == 'application/json' and 'gzip' in self.headers.get('Accept-Encoding', ''):
            body, headers = gzip.compress(body), {**headers, 'Content-Encoding': 'gzip'}
        self.send_response(status)
        for k, v in {'Content-Type': type, 'Content-Length': len(body), **headers}.items(): self.send_header(k if k.startswith('X-') else k.replace('_', '-'), str(v))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.form = form = self.rfile.read(int(self.headers['Content-Length'])).decode()
        self.answer({k: v[0] for k, v in parse_qs(form).items()})

    def do_GET(self): self.answer({k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()})

    def answer(self, q):
        s, path = self.server, urlsplit(self.path).path
        host = self.headers['Host'].split(':')[0]
        owner = '.'.join(host.split('.')[-2:])
        with s.lock:
            s.busy += 1
            s.busiest = max(s.busiest, s.busy)
            s.now[owner] += 1
            s.most[owner] = max(s.most[owner], s.now[owner])
            s.agents.add(self.headers['User-Agent'])
            s.heads.append((host, path, dict(self.headers)))
        try:
            time.sleep(s.latency)
            if path.startswith('/photo/') and host in s.refusing: return self.busy(b'')
            if path.endswith('unavailable_l.png'): return self.placeholder(b'')
            if path.startswith(('/photo/', '/photos/')): return self.photo(path.split('/')[-1].split('.')[0], path)
            s.queries.append((path, q))
            if s.api_faults and (fault := s.api_faults.pop(0)) is not None:
                if isinstance(fault, dict): return self.send(fault)
                return getattr(self, fault.replace('-', '_'))(b'{"a": 1}')
            if len(s.queries) > s.patience: return self.busy_an_hour(b'')
            getattr(self, path.strip('/').split('/')[0])(path, q)
        finally:
            with s.lock:
                s.busy -= 1
                s.now[owner] -= 1

    # the services

    def link(self, id, name='l'):
        s = self.server
        at = f'http://{s.hosts[int(id) % len(s.hosts)]}:{s.server_address[1]}' if s.hosts else s.url
        return f'{at}/photo/{name}/{id}.jpg'

    def flickr(self, path, q):
        s = self.server
        if 'Authorization' in self.headers and not self.is_signed(path): return self.unauthorized(b'')
        if 'Authorization' not in self.headers and q.pop('api_key', '') != 'good':
            return self.send({'stat': 'fail', 'code': 100, 'message': 'Invalid API Key (Key has invalid format)'})
        check('licenses' if q['method'] == 'flickr.photos.licenses.getInfo' else 'flickr', q)
        if q['method'] == 'flickr.photos.licenses.getInfo':
            return self.send({'licenses': {'license': [{'id': i, 'name': n, 'url': u} for i, (n, u) in FLICKR_LICENCES.items()]}, 'stat': 'ok'})
        per_page, page = int(q['per_page']), int(q.get('page', 1))
        assert per_page <= 500 and page*per_page <= 4000, 'Flickr gives 500 a page, 4,000 in all'
        def is_asked_for(i):
            return (s.licences.get(i, s.licence) in q.get('license', s.licence).split(',')
                    and q.get('min_upload_date', '')[:4] <= str(s.years.get(i, 2024)) <= q.get('max_upload_date', '9')[:4])
        ids, _ = s.page(q['text'], page, per_page, is_asked_for)
        total = len([*filter(is_asked_for, s.ids(q['text']))])
        def photo(id):
            p = {'id': id, 'owner': '7@N00', 'ownername': 'Ada & Ben', 'license': s.licences.get(id, s.licence), 'title': f'Bear <b>{id}</b>', 'secret': 's', 'server': '1'}
            sizes = {'sq': 75, 'm': 500, 'l': 1024, 'k': 2048} if int(id) % 2 else {'sq': 75, 'm': 500, 'z': 640, 'o': 4000} # some have no 1024
            if id not in s.lacking:
                for k, side in sizes.items(): p |= {f'url_{k}': self.link(id, k), f'width_{k}': side, f'height_{k}': str(side*3//4)}
            return p
        pages = -(-total//max(1, per_page - s.overlap))
        found = {'page': page, 'pages': pages, 'perpage': per_page, 'total': total, 'photo': [photo(i) for i in ids]}
        self.send({'photos': found, 'stat': 'ok'})

    def is_signed(self, path):
        "Is the query signed by OAuth, with a number that was not used before?"
        s, auth = self.server, {'Authorization': self.headers['Authorization']}
        signed = signature.collect_parameters(body=self.form, headers=auth)
        words = dict(signature.collect_parameters(headers=auth, exclude_oauth_signature=False))
        with s.lock: is_new, _ = words['oauth_nonce'] not in s.nonces, s.nonces.add(words['oauth_nonce'])
        request = SimpleNamespace(uri=s.url + path, http_method='POST', params=signed, signature=words['oauth_signature'])
        return is_new and signature.verify_hmac_sha1(request, 'secret')

    def openverse(self, path, q):
        s = self.server
        if path.endswith('/auth_tokens/token/'):
            if self.command != 'POST' or q != {'grant_type': 'client_credentials', 'client_id': 'good', 'client_secret': 'secret'}:
                return self.send({'error': 'invalid_client'}, 401)
            return self.send({'access_token': 't0ken', 'expires_in': 43200, 'token_type': 'Bearer', 'scope': 'read'})
        check('openverse', q)
        if (token := self.headers.get('Authorization')) not in (None, 'Bearer t0ken'): return self.send({'detail': 'invalid token'}, 401)
        if not token and any(left == 0 for _, left in s.rates.values()): return self.busy_an_hour(b'')
        for rate in s.rates.values(): rate[1] -= not token
        rates = {} if token else {f'X-RateLimit-{k}-{name}': v for name, rate in s.rates.items() for k, v in zip(('Limit', 'Available'), rate)}
        page, size = int(q['page']), int(q['page_size'])
        if size > 20: return self.send({'detail': 'page_size may not exceed 20 for anonymous requests'}, 401)
        if page*size > 240: return self.send({'detail': 'anonymous requests reach 240 results'}, 401)
        def is_asked_for(i): return 'license' not in q or s.licences.get(i, ('by',))[0] in q['license'].split(',')
        ids, more = s.page(q['q'], page, size, is_asked_for)
        def licence(i): return dict(zip(('license', 'license_version', 'license_url'), s.licences.get(i, ('by', '2.0', f'{CC}/by/2.0/'))))
        rows = [{'id': i, 'foreign_landing_url': f'https://www.flickr.com/photos/7/{i}', 'title': f'Bear {i}', 'creator': 'Ada & Ben', **licence(i), 'width': 1000 if int(i) % 2 else 5000, 'height': 700,
                 'url': self.link(i, 'o'), 'thumbnail': self.link(i, 'thumb')} for i in ids]
        for r in rows:
            if r['id'] in s.lacking: del r['url'], r['thumbnail']
        n = len([*filter(is_asked_for, s.ids(q['q']))])
        self.send({'result_count': n, 'page_count': -(-n//max(1, size - s.overlap)), 'page_size': size, 'page': page, 'results': rows}, **rates)

    def inaturalist(self, path, q):
        s = self.server
        check(path.split('/')[-1], q)
        if path.endswith('/taxa'):
            cactus = {'id': 900, 'name': 'Cylindropuntia bigelovii', 'preferred_common_name': 'Teddy-bear Cholla', 'matched_term': 'Teddy-bear'}
            rows = [] if q['q'] == 'nothing' else [cactus]
            if q['q'] != 'teddy' and rows: rows.append({'id': 901, 'name': q['q'].title(), 'preferred_common_name': 'A bear', 'matched_term': q['q']})
            if rows: s.taxon = q['q']
            return self.send({'total_results': len(rows), 'results': rows})
        if path.endswith('/autocomplete'):
            states = [{'id': 14, 'name': 'Georgia', 'display_name': 'Georgia, US'}, {'id': 15, 'name': 'Georgia', 'display_name': 'Republic of Georgia'}]
            return self.send({'results': [p for p in [*states, {'id': 6, 'name': 'Alaska', 'display_name': 'Alaska, US'}] if q['q'].casefold() in p['display_name'].casefold()]})
        rows = [self.observation(i) for i in s.ids(s.taxon) if int(i) + 5 < int(q.get('id_below', 10**9))]
        rows = [o for o in rows if self.is_asked_for(o, q)][::-1 if q.get('order', 'desc') == 'desc' else 1]
        page, per_page = int(q.get('page', 1)), int(q['per_page'])
        assert q.get('order_by', 'id') == 'id' and per_page <= 200 and page*per_page <= 10_000, 'iNaturalist gives 200 a page, 10,000 in all'
        self.send({'total_results': len(rows), 'page': page, 'per_page': per_page, 'results': rows[per_page*(page - 1):][:per_page]})

    def observation(self, i):
        s = self.server
        photos = [{'id': int(i) + k*10**6, 'license_code': code, 'url': f'{s.url}/photo/{int(i) + k*10**6}/square.jpg'}
                  for k, code in enumerate(s.photos.get(i, ['cc-by']))]
        marks = [dict(zip(('controlled_attribute_id', 'controlled_value_id', 'vote_score'), m)) for m in s.marks.get(i, [(17, 18, 0), (22, 24, 0), (1, 2, 0)])]
        return {'id': int(i) + 5, 'uri': f'https://www.inaturalist.org/observations/{int(i) + 5}', 'user': {'login': 'ada', 'name': 'Ada & Ben'},
                'annotations': marks, 'observed_on': s.days.get(i, '2024-06-01'), 'photos': [] if i in s.lacking else photos}

    def is_asked_for(self, o, q):
        "As lib/controllers/v1/observations_controller.js of iNaturalistAPI filters: terms and values are looked for in one and the same annotation."
        def within(k, v): return k not in q or str(v) in q[k].split(',')
        def has(values):
            return any(within('term_id', a['controlled_attribute_id']) and str(a['controlled_value_id']) in values.split(',') for a in o['annotations']
                       if a['vote_score'] >= 0)
        assert 'term_id' in q or not {'term_value_id', 'without_term_value_id'} & q.keys(), 'without term_id these are passed over'
        return (('term_value_id' not in q or has(q['term_value_id'])) and not ('without_term_value_id' in q and has(q['without_term_value_id']))
                and ('photo_license' not in q or not o['photos'] or any(within('photo_license', p['license_code']) for p in o['photos']))
                and q.get('d1', '') <= o['observed_on'] <= q.get('d2', '9') and within('place_id', 6))

    def commons(self, path, q):
        if q.get('list') == 'search':
            check('totals', q)
            word, *said = q['srsearch'].removesuffix(' filetype:bitmap').split(' haswbstatement:')
            n = len([i for i in self.server.ids(word) if not said or SAID.get(licence_of(self.server, i)) in said[0].split('|')])
            assert len(q['srsearch']) <= 300, 'CirrusSearch takes no longer search'
            return self.send({'batchcomplete': True, 'query': {'searchinfo': {'totalhits': n}, 'search': []}})
        check('commons', q)
        s, more = self.server, False
        if 'pageids' in q: ids = q['pageids'].split('|')
        else:
            size, offset = int(q['gsrlimit']), int(q.get('gsroffset', 0))
            assert size <= 50, 'Wikimedia makes no more than 50 small pictures a query'
            if offset >= s.depth:
                return self.send({'error': {'code': 'cirrussearch-offset-too-large', 'info': f'Up to {s.depth} search results are supported'}})
            word, _, year = q['gsrsearch'].removesuffix(' filetype:bitmap').partition(' creationdate:')
            ids, more = s.page(word, offset//size + 1, size, lambda i: not year or s.years.get(i, 2024) == int(year))
        if not ids: return self.send({'batchcomplete': True})
        def meta(i):
            short, url = s.licences.get(i, ('CC BY 2.0', f'{CC}/by/2.0'))
            meta = {'Artist': '<a href="//commons.wikimedia.org/wiki/User:Ada">Ada &amp; Ben</a>', 'LicenseShortName': short, 'ObjectName': f'Bear {i}'}
            if url: meta['LicenseUrl'] = url
            if i in s.attributions: meta['Attribution'] = s.attributions[i]
            return {k: {'value': v, 'source': 'x'} for k, v in meta.items() if k in q['iiextmetadatafilter'].split('|')}
        def sides(i): return dict(zip(('width', 'height'), s.shapes.get(i, (4000, 3000))))
        pages = [{'pageid': int(i), 'ns': 6, 'title': f'File:{i}.jpg', 'index': k, 'imageinfo': [{**sides(i),
                  'url': self.link(i, 'o'), 'thumburl': self.link(i, q.get('iiurlwidth', 'o')),
                  'descriptionurl': f'https://commons.wikimedia.org/wiki/File:{i}.jpg', 'extmetadata': meta(i)}]} for k, i in enumerate(ids)]
        for p in pages:
            if str(p['pageid']) in s.lacking: del p['imageinfo']
        follows = {'continue': {'gsroffset': offset + size, 'continue': 'gsroffset||'}} if more else {}
        self.send({'batchcomplete': True, 'query': {'pages': pages[::-1]}} | follows)

    # the photographs

    def photo(self, id, path):
        s = self.server
        if not id.isdigit(): id = path.split('/')[2]  # iNaturalist's
        with s.lock:
            s.asked[id] += 1
            fault = s.faults[id].pop(0) if s.faults.get(id) else None
        body = picture(id, s.side)
        if fault: return getattr(self, fault.replace('-', '_'))(body)
        self.send(body, type='image/jpeg', **s.extra)
        with s.lock: s.sent[id] += 1

    def cut(self, body):
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body)//2])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def stall(self, body, pause=30, step=10**9):
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        for i in range(0, len(body) - 1, step):
            self.wfile.write(body[i:min(i + step, len(body)//2)])
            self.wfile.flush()
            time.sleep(pause)

    def huge_by_its_header(self, body):
        self.send_response(200)
        self.send_header('Content-Length', str(10**10))
        self.end_headers()
        self.wfile.flush()
        time.sleep(30)

    def drip(self, body): self.stall(body, .05, 1)
    def busy(self, body): self.send(b'', 429)
    def busy_a_second(self, body): self.send(b'', 429, Retry_After=1)
    def busy_an_hour(self, body): self.send({'detail': 'Request was throttled. Expected available in 3600 seconds.'}, 429, Retry_After=3600)
    def busy_three_hours(self, body): self.send(b'', 429, Retry_After=email.utils.formatdate(time.time() + 3*3600, usegmt=True))
    def busy_for_some_time(self, body): self.send(b'', 429, Retry_After='soon')
    def unauthorized(self, body): self.send(b'oauth_problem=signature_invalid', 401, type='text/plain')
    def broken(self, body): self.send(b'', 500)
    def gone(self, body): self.send(b'', 404)
    def forbidden(self, body): self.send(b'', 403)
    def bomb(self, body): self.send(gzip.compress(bytes(10**7)), Content_Encoding='gzip')
    def no_json(self, body): self.send(b'<html>Down for maintenance')
    def a_list(self, body): self.send([1])
    def placeholder(self, body): self.send(picture('3', 120, 'PNG'), type='image/png') # that the photograph is gone, at its own address
    def to_placeholder(self, body): self.redirect(f'{self.server.url}/photo/en-us/photo_unavailable_l.png')
    def html(self, body): self.send(b'<!doctype html><title>Sorry</title>', type='image/jpeg')
    def empty(self, body): self.send(b'', type='image/jpeg')
    def half_a_picture(self, body): self.send(body[:len(body)//2], type='image/jpeg')
    def too_large(self, body): self.send(body + bytes(300_000), type='image/jpeg')
    def wrong_type(self, body): self.send(body, type='text/plain')
    def png(self, body): self.send(picture('1', 120, 'PNG'), type='image/jpeg')

    def endless_error(self, body): self.endless(body, 503)

    def endless(self, body, status=200, **headers):
        self.send_response(status)
        for k, v in {'Transfer-Encoding': 'chunked', **headers}.items(): self.send_header(k, v)
        self.end_headers()
        while True: self.wfile.write(b'10000\r\n' + bytes(65536) + b'\r\n')

    def redirect(self, to): self.send(b'', 302, Location=to)
    def redirect_endless(self, body): self.endless(body, 302, Location=f'{self.server.url}/photo/l/77.jpg')
    def redirect_here(self, body): self.redirect(f'{self.server.url}/photo/l/77.jpg')
    def redirect_other_host(self, body): self.redirect(f'http://localhost:{self.server.server_address[1]}/photo/l/78.jpg')
    def redirect_beyond(self, body): self.redirect(self.server.beyond)
    def redirect_two(self, body): self.redirect(f'http://two.example:{self.server.server_address[1]}/photo/l/79.jpg')
    def redirect_private(self, body): self.redirect('http://10.0.0.1/photo.jpg')
    def redirect_metadata(self, body): self.redirect('http://169.254.169.254/latest/meta-data/')
    def redirect_file(self, body): self.redirect('file:///etc/passwd')
    def redirect_loop(self, body): self.redirect(self.path)
    def redirect_no_dns(self, body): self.redirect('http://no-such-host.invalid/photo.jpg')

if __name__ == '__main__': # for the benchmark: a server in a process of its own
    n, side, latency = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    server = Server(n, side, latency)
    print(server.url, flush=True)
    sys.stdin.read()

BASES = {Flickr: 'flickr', Openverse: 'openverse/', INaturalist: 'inaturalist/', Wikimedia: 'commons'}

def net(**kwargs): return Net(**{'allow': ['127.0.0.1'], 'backoff': .01, 'max_bytes': 200_000} | kwargs)

def hasty(fault): return net(timeout=(1, .5), total=1) if fault in ('stall', 'drip', 'huge-by-its-header') else net()

def service(server, kind=Wikimedia, key='good', **kwargs):
    keys = (key,) if kind is Flickr else ()
    return kind(*keys, **{'base': f'{server.url}/{BASES[kind]}', 'net': net(), 'interval': 0} | kwargs)

def rows(dest): return list(read_manifest(dest))

def is_whole(dest):
    "Every picture below `dest` opens, every one has its line and the hash in it, and nothing else lies there."
    files = picture_files(dest)
    known = {dest/r['file']: r for r in rows(dest)}
    assert sorted(known) == files and len(rows(dest)) == len(known)
    for f in files: assert known[f]['sha256'] == pictures.sha256(f) and tuple(known[f]['size']) == open_picture(f).size
    assert not [f for f in dest.rglob('.*') if f.name != '.manifest.jsonl.lock']
    return files
