"The page in a real browser (Debian's chromium): uploads of every kind, hostile ones too, two visitors, a phone, the keyboard; and its server."
import csv, io, json, os, random, signal, socket, subprocess, sys, time, urllib.error, urllib.request
from pathlib import Path

import nbformat, pillow_heif, psutil, pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from bearclf.app import _headline, moved
from bearclf.server import _notebook
from bearclf.drawn import draw
from bearclf.inference import Classifier
from bearclf.reader import MAX_BYTES
from helpers import CHROMIUM, FLAGS, encoded, eventually, keep_screenshots
from tiny_model import CROP, LABELS, card, tiny_model

ROOT = Path(__file__).parent.parent
COMMAND = str(Path(sys.executable).with_name('bearclf'))

expect.set_options(timeout=30_000) # where all is well nothing waits; a busy machine is no defect of the page

TEDDY, ROBOT = draw(('teddys',), random.Random(4)), draw((), random.Random(2))
TEDDY_JPEG, ROBOT_JPEG = encoded(TEDDY), encoded(ROBOT)

def headline(content): return _headline(Classifier().predict(content))[0] # of the model that ships, whatever it has learned

# The server

def free_port():
    with socket.socket() as s:
        s.bind(('localhost', 0))
        return s.getsockname()[1]

class App:
    "A running `bearclf app`."
    elsewhere = () # addresses of other servers that it asks for something
    def __init__(self, *args, **env):
        self.port = free_port()
        self.process = subprocess.Popen([COMMAND, 'app', '--no-browser', '--port', str(self.port), *map(str, args)], env=os.environ | env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.first = self.process.stdout.readline()
        self.url = f'http://localhost:{self.port}/'

    def kernels(self):
        def is_kernel(p):
            try: return 'ipykernel_launcher' in p.cmdline()
            except psutil.Error: return False # it has just ended
        return [p for p in psutil.Process(self.process.pid).children() if is_kernel(p)]

    def stop(self):
        "Ctrl-C; gives the exit code, what was printed since, and the processes that are left."
        all_ = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        _, left = psutil.wait_procs(all_, timeout=10)
        return self.process.returncode, out + err, left

@pytest.fixture(scope='module')
def app(tmp_path_factory):
    tmp = tmp_path_factory.mktemp('server')
    app = App(TMPDIR=str(tmp))
    app.tmp = tmp
    yield app
    if app.process.poll() is None: app.stop()

@pytest.fixture(scope='module')
def browser():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()

@pytest.fixture
def visit(browser, request):
    "Opens the page for a new visitor. No visitor's console may hold an error; after a failure the pages are in tests/failures/."
    pages, complaints, failed = [], [], request.session.testsfailed
    def visit(app, **kwargs):
        page = browser.new_context(**kwargs).new_page()
        page.set_default_timeout(30_000)
        no_matter = lambda url: '/shutdown/' in url or '/api/kernels/' in url or url.startswith(app.elsewhere)
        page.on('console', lambda m: m.type != 'error' or no_matter(m.location['url']) or complaints.append(m.text))
        page.on('pageerror', lambda e: complaints.append(str(e)))
        page.on('requestfailed', lambda r: no_matter(r.url) or complaints.append(f'{r.url} {r.failure}'))
        page.goto(app.url)
        expect(page.locator('.bc-example').first).to_be_visible()
        expect(page.get_by_role('status')).to_be_attached() # the script has done its work
        pages.append(page)
        return page
    yield visit
    if request.session.testsfailed > failed: keep_screenshots(request, [p for p in pages if p in p.context.pages])
    for page in pages: page.context.close()
    assert not complaints

def upload(page, *files):
    "Choose `files`, (name, content), by the button; wait until each has its answer."
    done = page.locator('.bc-card .bc-bars, .bc-card .bc-refused')
    before = done.count()
    with page.expect_file_chooser() as chooser: page.get_by_role('button', name='Choose pictures').click()
    chooser.value.set_files([dict(name=n, mimeType='image/jpeg', buffer=c) for n,c in files])
    expect(done).to_have_count(before + len(files))
    return [page.locator('.bc-card').nth(i) for i in range(len(files))]

# Uploads

def heic(im):
    f = io.BytesIO()
    pillow_heif.from_pillow(im).save(f)
    return f.getvalue()

def rotated(im):
    "Lying on its side, with the EXIF note that says so."
    exif = Image.Exif()
    exif[274] = 6
    return encoded(im.transpose(Image.Transpose.ROTATE_90), exif=exif)

def test_every_kind_of_picture_at_once(app, visit):
    tall = TEDDY.crop((60, 0, TEDDY.width - 60, TEDDY.height))
    files = [('a.jpg', TEDDY_JPEG), ('b.png', encoded(TEDDY, 'PNG')), ('c.webp', encoded(TEDDY, 'WEBP')), ('d.HEIC', heic(TEDDY)), ('turned.jpg', rotated(tall))]
    page = visit(app)
    cards = upload(page, *files)
    for card, (name, content) in zip(cards, files):
        expect(card.locator('.bc-name')).to_have_text(name)
        expect(card.get_by_role('heading')).to_have_text(headline(content))
        expect(card.get_by_role('listitem').filter(has_text='teddy bear')).to_contain_text(f"teddy bear{Classifier().predict(content).probs['teddys']:.0%}")
    size = lambda card: card.get_by_role('img', name='Your picture').evaluate('e => [e.naturalWidth, e.naturalHeight]')
    assert size(cards[4]) == [tall.width, tall.height]

def test_hostile_files_are_refused_and_the_others_answered(app, visit):
    page = visit(app)
    huge = encoded(Image.new('1', (8000, 7000)), 'PNG') # small in bytes, 56 megapixels
    name = '<img src=x onerror=alert(1)>.jpg'
    files = [(name, TEDDY_JPEG), ('note.jpg', b'Bring the teddy.'), ('cut.jpg', TEDDY_JPEG[:3000]), ('large.png', b'0'*(MAX_BYTES + 1)),
             ('pixels.png', huge), ('empty.jpg', b''), ('page.svg', b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'), ('robot.jpg', ROBOT_JPEG)]
    cards = upload(page, *files)
    said = [c.locator('.bc-refused').text_content() if c.locator('.bc-refused').count() else None for c in cards]
    for words, sentence in zip(['not a picture', 'damaged or cut short', 'up to 20 MB', '50,000,000 pixels', 'empty', 'not a picture'], said[1:7]):
        assert words in sentence and sentence.count('.') - sentence.count('...')*3 - ('(' in sentence) <= 3
    assert said[0] is None and said[7] is None
    expect(cards[0].locator('.bc-name')).to_have_text(name)
    expect(cards[7].get_by_role('heading')).to_have_text(headline(ROBOT_JPEG))
    assert page.locator('.bc-card img[src=x]').count() == 0

def test_a_film_and_a_bomb(app, visit):
    frames = [Image.new('P', (300, 300), i%256) for i in range(400)]
    film = encoded(TEDDY.resize((300, 300)).convert('P'), 'GIF', save_all=True, append_images=frames)
    bomb = encoded(Image.new('1', (30_000, 30_000)), 'PNG') # 900 megapixels in 110 kB
    film, bomb = upload(visit(app), ('film.gif', film), ('bomb.png', bomb))
    expect(film.get_by_role('heading')).to_be_visible() # of its first picture
    expect(bomb).to_contain_text('50,000,000 pixels')

def drop(page, *paths):
    "As a hand does it: over the page, then let go."
    session, data = page.context.new_cdp_session(page), dict(items=[], files=[str(p) for p in paths], dragOperationsMask=1)
    for type in ('dragEnter', 'dragOver', 'drop'): session.send('Input.dispatchDragEvent', dict(type=type, x=200, y=200, data=data))

def test_dropping_files_and_a_folder(app, visit, tmp_path):
    page = visit(app)
    (tmp_path/'teddy.jpg').write_bytes(TEDDY_JPEG)
    (tmp_path/'folder').mkdir()
    drop(page, tmp_path/'teddy.jpg', tmp_path/'folder')
    expect(page.locator('.bc-card').nth(0).get_by_role('heading')).to_have_text(headline(TEDDY_JPEG))
    expect(page.locator('.bc-card').nth(1)).to_contain_text('it is a folder')

def test_no_file_is_lost_where_drops_follow_fast(app, visit):
    "Nor where one drop has more than a message holds. The first file stands first."
    page = visit(app)
    page.evaluate('''([size, drops]) => { for (const names of drops) {
        const list = new DataTransfer();
        for (const name of names) list.items.add(new File([new Uint8Array(size)], name));
        document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: list, bubbles: true, cancelable: true})) } }''', [MAX_BYTES//2, ['3', '4', '012']])
    expect(page.locator('.bc-refused')).to_have_count(5)
    assert page.locator('.bc-name').all_text_contents() == ['0', '1', '2', '4', '3']

# The answers

def test_the_slider_moves_all_marks_and_the_table_follows(app, visit):
    page, thresholds = visit(app), Classifier().predict(TEDDY_JPEG).thresholds
    teddy, _ = upload(page, ('=teddy, ü.jpg', TEDDY_JPEG), ('note.txt', b'no picture'))
    slider = page.get_by_role('slider', name='How sure must it be?')
    expect(slider).to_have_attribute('aria-valuetext', 'as the model was set')
    marks = lambda: teddy.locator('.bc-bar i').evaluate_all('all => all.map(e => parseFloat(e.style.left))')
    assert marks() == [pytest.approx(100*t, abs=.06) for t in thresholds.values()]
    percent = teddy.locator('.bc-percent').all_text_contents()
    slider.focus()
    for _ in range(3): slider.press('ArrowRight')
    expect(slider).to_have_attribute('aria-valuetext', 'nearly certain')
    eventually(lambda: marks() == [pytest.approx(100*t, abs=.06) for t in moved(thresholds, 3).values()])
    assert teddy.locator('.bc-percent').all_text_contents() == percent
    expect(page.get_by_role('status')).to_contain_text('of 1 pictures')
    with page.expect_download() as download: page.get_by_role('link', name='Download').click()
    assert download.value.suggested_filename == 'bears.csv'
    with open(download.value.path(), newline='', encoding='utf-8-sig') as f: rows = list(csv.DictReader(f))
    assert [r['file'] for r in rows] == ["'=teddy, ü.jpg", 'note.txt'] and 'not a picture' in rows[1]['error']
    assert float(rows[0]['teddys']) == pytest.approx(Classifier().predict(TEDDY_JPEG).probs['teddys'], abs=1e-5)
    page.get_by_role('button', name='Remove all').click()
    expect(page.locator('.bc-card')).to_have_count(0)

@pytest.fixture
def mapped(tmp_path):
    app = App('--model', tiny_model(tmp_path/'maps.onnx', card(resize=[CROP, CROP], thresholds=dict.fromkeys(LABELS, .005)), maps=True))
    yield app
    app.stop()

def test_where_each_label_was_found(mapped, visit):
    page = visit(mapped)
    im = Image.new('RGB', (64, 64), (30, 30, 30))
    im.paste((255, 0, 0), (0, 0, 32, 32))
    red, = upload(page, ('red.png', encoded(im, 'PNG')))
    buttons, shown = red.get_by_role('button', name='Where:'), red.locator('.bc-map:visible')
    assert buttons.count() > 1
    expect(shown).to_have_count(0)
    for i in range(2): # one at a time
        buttons.nth(i).click()
        expect(shown).to_have_count(1)
        expect(shown).to_have_attribute('data-map', buttons.nth(i).get_attribute('data-where'))
        expect(buttons.nth(i)).to_have_attribute('aria-pressed', 'true')
    buttons.nth(1).click()
    expect(shown).to_have_count(0)

def test_words_for_nothing_found(mapped, visit):
    page = visit(mapped)
    grey, = upload(page, ('grey.png', encoded(Image.new('RGB', (64, 64), (30, 30, 30)), 'PNG'))) # each label has 0.0067, counts from 0.005
    expect(grey.locator('li.bc-found')).to_have_count(len(LABELS))
    page.get_by_role('slider').press('ArrowRight')
    expect(grey.get_by_role('heading')).to_have_text('Nothing found')
    expect(grey).to_contain_text('The model looked for red, green,')
    expect(page.get_by_role('status')).to_have_text('Something is found in 0 of 1 pictures.')

# The visitors

def test_two_visitors_see_each_their_own(app, visit):
    one, two = visit(app), visit(app)
    upload(one, ('mine.jpg', TEDDY_JPEG))
    upload(two, ('yours.jpg', ROBOT_JPEG))
    assert [p.locator('.bc-name').all_text_contents() for p in (one, two)] == [['mine.jpg'], ['yours.jpg']]
    one.reload()
    expect(one.locator('.bc-example').first).to_be_visible()
    expect(one.locator('.bc-card')).to_have_count(0)

@pytest.mark.parametrize('width', [390, 1280])
def test_it_fits_the_screen(app, visit, width):
    page = visit(app, viewport=dict(width=width, height=844))
    upload(page, ('a file with a name that is long ' + 'and goes on '*12 + 'x'*90 + '.jpg', TEDDY_JPEG), ('n.jpg', b'none'))
    assert page.evaluate('''() => [document.documentElement, document.body, ...document.querySelectorAll('.bc-app, .bc-app *:not(.bc-hidden)')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 || (e === document.body || e === document.documentElement) && e.scrollWidth > innerWidth)
        .map(e => e.className)''') == []
    before = page.evaluate('scrollY')
    page.mouse.wheel(0, 300)
    eventually(lambda: page.evaluate('scrollY') > before) # the page itself, not a frame in it

def test_a_phone_goes_to_the_answer(app, visit):
    page = visit(app, viewport=dict(width=390, height=844))
    page.get_by_role('button', name='toy').click()
    expect(page.get_by_role('slider')).to_be_in_viewport()
    expect(page.locator('.bc-card').get_by_role('heading')).to_be_in_viewport()

def test_by_keyboard_alone(app, visit):
    page = visit(app)
    names = []
    for _ in range(6): # the upload's button, then the examples
        page.keyboard.press('Tab')
        names.append(page.evaluate('document.activeElement.getAttribute("aria-label") || document.activeElement.textContent'))
        assert page.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    assert names == ['Choose pictures', 'black bear', 'grizzly', 'teddy bear', 'black bear and teddy bear', 'toy']
    page.keyboard.press('Enter')
    expect(page.locator('.bc-card')).to_contain_text('drawn toy.jpg')
    expect(page.get_by_role('status')).to_contain_text('drawn toy.jpg: ')
    for name in ('How sure must it be?', 'Download answers (CSV)', 'Remove all'):
        page.keyboard.press('Tab')
        assert page.evaluate('document.activeElement.getAttribute("aria-label") || document.activeElement.textContent') == name
    assert page.evaluate('document.documentElement.lang') == 'en'
    assert page.locator('.bc-app [title=null]:visible').count() == 0

CONTRAST = '''() => {
    const rgb = c => c.match(/[\\d.]+/g).map(Number), light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b };
    const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c } return [255, 255, 255] };
    return [...document.querySelectorAll('.bc-app h1, .bc-app h2, .bc-app h3, .bc-app p, .bc-app li span, .bc-app button, .bc-app a, .bc-app .widget-readout')]
        .filter(e => e.textContent.trim() && e.offsetParent).map(e => [getComputedStyle(e).color, behind(e), 4.5, e.textContent])
        .concat([...document.querySelectorAll('.bc-bar b, .bc-bar i')].map(e => [getComputedStyle(e).backgroundColor, behind(e.parentElement), 3, 'bar']),
                [...document.querySelectorAll('.bc-drop')].map(e => [getComputedStyle(e).borderColor, behind(e), 3, 'border']))
        .map(([a, b, least, text]) => { const [x, y] = [light(rgb(a)), light(typeof b === 'string' ? rgb(b) : b)].sort((x, y) => y - x); return [(x + .05)/(y + .05), least, text] })
        .filter(([ratio, least]) => ratio < least) }'''

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_has_contrast(app, visit, scheme):
    page = visit(app, color_scheme=scheme)
    upload(page, ('teddy.jpg', TEDDY_JPEG), ('note.jpg', b'none'))
    assert page.evaluate(CONTRAST) == []
    page_, card = [page.locator(e).evaluate('e => getComputedStyle(e).backgroundColor') for e in ('#rendered_cells', '.bc-card >> nth=0')]
    assert page_ != card # cards stand out
    red, *_ = map(int, page.evaluate('getComputedStyle(document.body).backgroundColor').removeprefix('rgb(').rstrip(')').split(','))
    assert (red < 60) == (scheme == 'dark')

# The server

def kernel(app, page):
    "The process of the visitor of `page`."
    kernel_id = json.loads(page.locator('#jupyter-config-data').text_content())['kernelId']
    return next(p for p in app.kernels() if kernel_id in ' '.join(p.cmdline()))

def test_a_closed_tab_leaves_no_kernel(app, visit):
    page = visit(app)
    process = kernel(app, page)
    page.close(run_before_unload=True)
    eventually(lambda: not process.is_running())

def test_a_page_whose_kernel_died_says_so(app, visit):
    page = visit(app)
    upload(page, ('teddy.jpg', TEDDY_JPEG))
    kernel(app, page).kill()
    lost = page.locator('.bc-lost')
    def says_so():
        page.locator('.bc-name').click()
        return 'lost its connection' in lost.text_content()
    eventually(says_so)
    lost.get_by_role('link').click()
    expect(page.locator('.bc-example').first).to_be_visible()
    expect(page.locator('.bc-card')).to_have_count(0)

@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_processes_are_light(app, visit):
    page = visit(app)
    upload(page, ('teddy.jpg', TEDDY_JPEG))
    loads = lambda p: {name for name in ('zmq', 'onnxruntime', 'torch', 'pandas', 'matplotlib') if f'/{name}' in Path(f'/proc/{p.pid}/maps').read_text()}
    assert loads(kernel(app, page)) == {'zmq'}
    assert set().union(*map(loads, psutil.Process(app.process.pid).children(recursive=True))) == {'zmq', 'onnxruntime'}

def test_the_page_never_imports_training():
    code = ("import random, sys; from bearclf.app import Page, page; from bearclf.drawn import draw; page(); p = Page(); answers = p.take([('a.jpg', sys.stdin.buffer.read(), '')]); answers[0].result();"
            "print(p.cards[0].prediction is not None, sorted({'torch', 'fastai', 'onnxruntime', 'pandas', 'matplotlib', 'voila'} & {*sys.modules}))")
    assert subprocess.run([sys.executable, '-c', code], input=TEDDY_JPEG, capture_output=True).stdout.splitlines()[-1] == b'True []'

def test_no_upload_on_disk(app, visit):
    upload(visit(app), ('secret.jpg', TEDDY_JPEG))
    for f in app.tmp.rglob('*'):
        if f.is_file() and not f.is_socket(): assert TEDDY_JPEG[100:400] not in f.read_bytes()

@pytest.mark.parametrize('path', ['voila/files/app.ipynb', 'voila/tree', 'voila/files/', 'api/contents', 'voila/files/../app.ipynb', 'app.ipynb', 'voila/render/app.ipynb', 'api/kernels',
                                  'voila/static/%2e%2e/app.py', 'static/%2e%2e/%2e%2e/etc/passwd'])
def test_nothing_else_is_served(app, path):
    try: said = urllib.request.urlopen(app.url + path).read()
    except urllib.error.HTTPError as e: assert e.code in (403, 404)
    else: assert b'from bearclf' not in said and b'"cells"' not in said

def test_the_source_is_not_shown(app):
    assert b'bearclf.app import' not in urllib.request.urlopen(app.url).read()

def test_the_notebook_is_the_one_in_nbs():
    cells = lambda nb: [(c.cell_type, c.source) for c in nb.cells]
    assert cells(nbformat.read(ROOT/'nbs'/'app.ipynb', 4)) == cells(_notebook())

def one_sentence(*args):
    r = subprocess.run([COMMAND, 'app', '--no-browser', *map(str, args)], capture_output=True, text=True, timeout=60)
    assert r.returncode == 2 and r.stdout == '' and len(r.stderr.splitlines()) == 1
    return r.stderr

def test_complaints(app, tmp_path):
    assert f'port {app.port}' in one_sentence('--port', app.port) and 'in use' in one_sentence('--port', app.port)
    assert 'gone.onnx' in one_sentence('--port', free_port(), '--model', tmp_path/'gone.onnx')
    assert 'no.such.host' in one_sentence('--port', free_port(), '--host', 'no.such.host.invalid')
    assert '99999' in one_sentence('--port', 99999)

def test_ctrl_c_stops_all(tmp_path):
    app = App(TMPDIR=str(tmp_path))
    assert app.first == f'The page is at {app.url} (Ctrl-C stops it)\n'
    time.sleep(3) # its kernels are being made ready
    code, said, left = app.stop()
    assert (code, said, left) == (0, '', [])
    assert not [f for f in tmp_path.iterdir() if f.name != '.ses'] # onnxruntime's own: a time and a number

class Binder:
    "Voila as Binder runs it: an extension of Jupyter's server, which serves the repository."
    elsewhere = ('https://cdn.jsdelivr.net/', 'https://cdnjs.cloudflare.com/') # Voila's own template asks for icons and formulas; the page has none
    def __init__(self):
        self.url = f'http://localhost:{(port := free_port())}/voila/render/nbs/app.ipynb'
        self.process = subprocess.Popen([sys.executable, '-m', 'jupyter_server', '--no-browser', f'--port={port}', '--IdentityProvider.token=', '--allow-root',
                                         f'--config={ROOT}/binder/jupyter_server_config.json'], cwd=ROOT, stderr=subprocess.DEVNULL)
        def answers():
            with socket.socket() as s: return s.connect_ex(('localhost', port)) == 0
        eventually(answers)

@pytest.fixture
def binder():
    binder = Binder()
    yield binder
    binder.process.terminate()
    binder.process.wait(timeout=30)

def test_as_on_binder(binder, visit):
    assert json.loads((ROOT/'binder'/'jupyter_server_config.json').read_text())['ServerApp']['tornado_settings'] == \
        dict(websocket_max_message_size=MAX_BYTES + 2**20)
    page = visit(binder)
    teddy, large = upload(page, ('teddy.jpg', TEDDY_JPEG), ('noise.bmp', b'BM' + bytes(12*2**20))) # more than Jupyter takes by default
    expect(teddy.get_by_role('heading')).to_have_text(headline(TEDDY_JPEG))
    expect(large).to_contain_text('This file')

# The reader
