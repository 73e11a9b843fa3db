"What strangers may do to the server of the page: many at once, none that stay, other pages, messages and bodies that are too large."
import asyncio, html, json, random, re, resource, socket, sys, urllib.error, urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tornado.websocket import websocket_connect

from bearclf.drawn import draw
from bearclf.inference import MODEL
from bearclf.server import _settings
from helpers import PATIENCE, App, encoded, ended, eventually

TEDDY_JPEG = encoded(draw(('teddys',), random.Random(4)))
SOON = (sys.executable, '-c', 'import sys, bearclf.server as s; s._LOST_SECONDS = 1; from bearclf.cli import main; sys.exit(main(sys.argv[1:]))')

@pytest.fixture(scope='module')
def app():
    "One for three visitors; kernels that nobody comes for end after a second."
    app = App('--visitors', 3, command=SOON)
    yield app
    assert app.stop() == (0, '', [])

def get(app, path='', method='GET', body=None, **headers):
    "Status, headers, and text of an answer."
    request = urllib.request.Request(app.url + path, data=body, method=method, headers={k.replace('_', '-'): v for k, v in headers.items()})
    try: r = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as e: r = e
    with r: return r.status, r.headers, r.read().decode()

def empty(app):
    "Only the kernel that is kept ready is there."
    eventually(lambda: len(app.kernels()) <= 1)

def test_the_first_words_come_before_the_kernel(app):
    empty(app)
    status, headers, text = get(app, '?secret=1')
    assert status == 200 and text.index('The page is being made ready') < text.index('"kernelId"') < text.index('bc-app')
    assert 'Set-Cookie' not in headers and 'secret' not in text and headers['Cache-Control'] == 'no-store'
    kernel = re.search('"kernelId": "([^"]*)"', text)[1]
    assert 'Set-Cookie' not in get(app, f'api/kernels/{kernel}')[1]
    eventually(lambda: get(app, f'api/kernels/{kernel}')[0] == 404) # nobody connected to it

def test_more_than_there_are_places_for(app):
    empty(app)
    with ThreadPoolExecutor(9) as pool: answers = [*pool.map(lambda _: get(app), range(9))]
    full = [a for a in answers if a[0] == 503]
    pages = [text for status, _, text in answers if status == 200]
    assert len(full) >= 6 and len(pages) + len(full) == 9 and all('bc-app' in text for text in pages)
    assert full[0][1]['Retry-After'] and 'tries again by itself' in full[0][2] and '/try/' in full[0][2]
    empty(app) # they left
    status, _, text = get(app)
    kernel = re.search('"kernelId": "([^"]*)"', text)[1]
    assert status == 200
    eventually(lambda: get(app, f'api/kernels/{kernel}')[0] == 404) # by then the next one has begun: no test takes that for its own

HELD = '''import asyncio, os, sys, bearclf.server as s
s.os.cpu_count, write = lambda: 1, s._Visit._write_all
async def held(self):
    while not os.path.exists({gate!r}): await asyncio.sleep(.02)
    await write(self)
s._Visit._write_all = held
s._Kernels.taken = lambda self: set() # the one that is kept ready counts while it starts; here only those who wait do
from bearclf.cli import main
sys.exit(main(sys.argv[1:]))'''

def test_who_leaves_the_queue_gives_up_his_place(tmp_path):
    app = App('--visitors', 2, command=(sys.executable, '-c', HELD.format(gate=str(tmp_path/'gate'))))
    def visit():
        s = socket.create_connection(('localhost', app.port))
        s.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        s.settimeout(PATIENCE)
        return s, s.recv(2**16)
    lines, first = zip(visit(), visit()) # one whose page is being made, one who waits for his turn
    assert all(b' 200 ' in words.splitlines()[0] for words in first)
    assert get(app)[0] == 503
    lines[1].close()
    def let_in():
        s, words = visit()
        if b' 200 ' in words.splitlines()[0]: return s
        s.close()
    eventually(let_in)
    (tmp_path/'gate').touch()
    def rest(): # of the first one's page
        nonlocal text
        text += lines[0].recv(2**16)
        return b'bc-app' in text
    text = b''
    eventually(rest)
    code, said, _ = app.stop()
    assert code == 0 and said == ''

def test_a_model_of_your_own_is_not_sent_to_our_page():
    app = App('--visitors', 1, '--model', MODEL) # by its name
    status = 200
    while status == 200: status, _, text = get(app)
    assert status == 503 and 'tries again by itself' in text and 'github.io' not in text and '$elsewhere' not in text
    app.stop()

def test_pages_elsewhere_start_nothing(app):
    empty(app)
    image = dict(Sec_Fetch_Site='cross-site', Sec_Fetch_Mode='no-cors', Sec_Fetch_Dest='image')
    assert get(app, **image)[0] == 403
    assert get(app, **image | dict(Sec_Fetch_Dest='iframe', Sec_Fetch_Mode='navigate'))[0] == 403
    assert get(app, Host='evil.example')[0] == 403
    assert get(app, method='HEAD')[0] == 405
    for path in ('logout', 'login', 'api/kernels', 'voila/static/main.js', 'app.ipynb', '..%2f..%2fetc/passwd'):
        status, _, text = get(app, path)
        assert status == 404 and 'Traceback' not in text, path
    assert len(app.kernels()) <= 1
    assert get(app, Sec_Fetch_Site='cross-site', Sec_Fetch_Mode='navigate', Sec_Fetch_Dest='document')[0] == 200 # a link

def test_bodies_are_small(app):
    with socket.create_connection(('localhost', app.port)) as s:
        s.sendall(b'POST /voila/api/shutdown/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000000\r\n\r\n' + b'a'*1000)
        s.settimeout(PATIENCE)
        assert b'400' in s.recv(1000).splitlines()[0] and not s.recv(1000) # and hung up

def message(kind, content, data=b''):
    "In Jupyter's form for websockets."
    text = json.dumps(dict(header=dict(msg_id=kind, msg_type=kind, session='s', username='', version='5.3'), parent_header={}, metadata={},
                           channel='shell', content=content)).encode()
    return b''.join([*(n.to_bytes(4, 'big') for n in (2, 12, 12 + len(text))), text, data])

def test_a_kernel_hears_only_what_the_page_says(app, tmp_path):
    empty(app)
    page = html.unescape(get(app)[2])
    kernel, comm = re.search('"kernelId": "([^"]*)"', page)[1], re.search('"comm": "([^"]*)"', page)[1]
    async def talk():
        line = await websocket_connect(f'ws://localhost:{app.port}/api/kernels/{kernel}/channels?session_id=s', max_message_size=2**24)
        await line.write_message(message('execute_request', dict(code=f'open({str(tmp_path/"run")!r}, "w")', silent=False)), binary=True)
        await line.write_message(message('comm_open', dict(comm_id='x', target_name='none', data={})), binary=True)
        said = dict(id=1, at=0, size=len(TEDDY_JPEG), picture=False)
        await line.write_message(message('comm_msg', dict(comm_id=comm, data=said), TEDDY_JPEG), binary=True)
        heard = []
        while not heard or 'answer' not in heard[-1]['content'].get('data', {}): # what was sent before is done with
            text = await line.read_message()
            assert text is not None, 'it hung up'
            if isinstance(text, str): heard.append(json.loads(text))
        assert 'probs' in heard[-1]['content']['data']['answer']
        assert not (tmp_path/'run').exists() and not [m for m in heard if m['msg_type'] in ('comm_close', 'execute_reply', 'error')]
        await line.write_message(message('comm_msg', dict(comm_id=comm, data=said), bytes(2**21)), binary=True)
        while await line.read_message() is not None: pass # too large: hung up
    asyncio.run(talk())

def test_idle_connections_leave_room():
    app = App(begin=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)))
    lines = [socket.create_connection(('localhost', app.port)) for _ in range(400)]
    def hung_up(s):
        s.settimeout(.01)
        try: return s.recv(1) == b''
        except TimeoutError: return False
        except ConnectionResetError: return True
    eventually(lambda: sum(map(hung_up, lines)) >= 400 - 512//4)
    for s in lines: s.close()
    def served():
        try: return get(app)[0] == 200
        except (OSError, urllib.error.URLError): return False
    eventually(served)
    code, said, _ = app.stop()
    assert 'Traceback' not in said

def test_no_page_is_empty_without_a_word():
    "Voila sends what a cell has shown within some seconds, even if that is nothing."
    assert _settings(Path('app.ipynb'), 'localhost', 1).VoilaExecutor.iopub_timeout >= 60
    empty = ('import sys, bearclf.server as s; whole = s._notebook(); whole.cells[0].source = "pass"; s._notebook = lambda: whole;'
             'from bearclf.cli import main; sys.exit(main(sys.argv[1:]))')
    app = App(command=(sys.executable, '-c', empty))
    assert 'The page could not be made ready' in get(app)[2]
    app.stop()

LOST = '''
import os, signal, sys, weakref
from tornado.ioloop import IOLoop
from bearclf import server
from bearclf.cli import main
class Task: pass
def begin(self, begun=server._Server.launch_browser):
    begun(self)
    tasks = [Task()]
    self.told = weakref.ref(tasks[0], lambda _: os.kill(os.getpid(), signal.SIGINT))
    IOLoop.current().add_callback(tasks.clear)
server._Server.launch_browser = begin
sys.exit(main(sys.argv[1:]))'''

def test_ctrl_c_where_python_drops_what_is_raised():
    app = App(command=(sys.executable, '-c', LOST))
    assert ended(app.process) == '' and app.process.returncode == 0
