"The page in a real browser (Debian's chromium): uploads of every kind, hostile ones too, two visitors, a phone, the keyboard; and its server."
import base64, csv, io, json, random, re, socket, subprocess, sys, threading, time, urllib.error, urllib.request
from pathlib import Path

import nbformat, pillow_heif, psutil, pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from bearclf.server import _notebook, _settings
from bearclf.drawn import draw
from bearclf.inference import Classifier
from bearclf.pictures import OTHER, in_words
from bearclf.reader import MAX_BYTES
from helpers import App, COMMAND, DROP, PAGE_PATIENCE, PATIENCE, chromium, encoded, eventually, free_port, keep_screenshots, moved
from tiny_model import CROP, LABELS, card, tiny_model

ROOT = Path(__file__).parent.parent

expect.set_options(timeout=PAGE_PATIENCE) # where all is well nothing waits; a busy machine is no defect of the page

TEDDY, ROBOT = draw(('teddys',), random.Random(4)), draw((), random.Random(2))
TEDDY_JPEG, ROBOT_JPEG = encoded(TEDDY), encoded(ROBOT)

def headline(content):
    "Of the model that ships, whatever it has learned."
    p = Classifier().predict(content)
    kinds = [k for k in p.labels if k != OTHER]
    said = in_words([p.name_of(k) for k in kinds]) if kinds else p.name_of(OTHER) if p.labels else 'not sure'
    return said[0].upper() + said[1:]

@pytest.fixture(scope='module')
def app(tmp_path_factory):
    tmp = tmp_path_factory.mktemp('server')
    app = App(TMPDIR=str(tmp))
    app.tmp = tmp
    yield app
    if app.process.poll() is None: app.stop()

@pytest.fixture(scope='module')
def browser():
    with chromium() as browser: yield browser

@pytest.fixture
def visit(browser, request, model, line): # servers and lines are made ready first, so that they end after the pages that they serve
    "Opens the page for a new visitor. No visitor's console may hold an error; after a failure the pages are in tests/failures/."
    pages, complaints, failed = [], [], request.session.testsfailed
    def visit(app, prepare=lambda page: None, **kwargs):
        page = browser.new_context(**kwargs).new_page()
        page.set_default_timeout(PAGE_PATIENCE)
        no_matter = lambda url: '/shutdown/' in url or '/api/kernels/' in url or url.startswith(app.elsewhere)
        page.on('console', lambda m: m.type != 'error' or no_matter(m.location['url']) or complaints.append(m.text))
        page.on('pageerror', lambda e: complaints.append(str(e)))
        page.on('requestfailed', lambda r: no_matter(r.url) or complaints.append(f'{r.url} {r.failure}'))
        prepare(page)
        page.goto(app.url)
        expect(page.locator('body')).to_have_attribute('data-ready', 'true') # the script has done its work
        pages.append(page)
        return page
    yield visit
    if request.session.testsfailed > failed: keep_screenshots(request, [p for p in pages if p in p.context.pages])
    for page in pages: page.context.close()
    assert not complaints

def choose(page, *files):
    "Choose `files`, (name, content) or paths, by the button."
    with page.expect_file_chooser() as chooser: page.get_by_role('button', name='Choose pictures').click()
    chooser.value.set_files([f if isinstance(f, Path) else dict(name=f[0], mimeType='image/jpeg', buffer=f[1]) for f in files])
    return [page.locator('.bc-card').nth(i) for i in range(len(files))]

def upload(page, *files):
    "Choose `files`; wait until each has its answer."
    done = page.locator('.bc-card .bc-bars, .bc-card .bc-refused')
    before = done.count()
    cards = choose(page, *files)
    expect(done).to_have_count(before + len(files))
    return cards

def table(page):
    "The downloaded table."
    with page.expect_download() as download: page.get_by_role('button', name='Download').click()
    assert download.value.suggested_filename in ('bears.csv', 'answers.csv')
    with open(download.value.path(), newline='', encoding='utf-8-sig') as f: return list(csv.DictReader(f))

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

def test_hostile_files_are_refused_and_the_others_answered(app, visit, tmp_path):
    page = visit(app)
    huge = encoded(Image.new('1', (8000, 7000)), 'PNG') # small in bytes, 56 megapixels
    name = '<img src=x onerror=alert(1)>.jpg'
    files = [(name, TEDDY_JPEG), ('note.jpg', b'Bring the teddy.'), ('cut.jpg', TEDDY_JPEG[:3000]), ('large.png', b'0'*(MAX_BYTES + 1)),
             ('pixels.png', huge), ('empty.jpg', b''), ('page.svg', b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'), ('robot.jpg', ROBOT_JPEG)]
    for n, content in files: (tmp_path/n).write_bytes(content) # the large one would be sent to the browser as text, for ten seconds
    cards = upload(page, *(tmp_path/n for n, _ in files))
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
    (tmp_path/'folder'/'below').mkdir(parents=True)
    (tmp_path/'folder'/'below'/'robot.jpg').write_bytes(ROBOT_JPEG)
    (tmp_path/'folder'/'notes.txt').write_text('Bring the teddy.')
    drop(page, tmp_path/'teddy.jpg', tmp_path/'folder')
    expect(page.locator('.bc-card').get_by_role('heading')).to_have_text([headline(TEDDY_JPEG), headline(ROBOT_JPEG)])
    expect(page.get_by_role('status')).to_contain_text('Left out: 1 file, no picture.')
    expect(page.locator('.bc-name')).to_have_text(['teddy.jpg', 'folder/below/robot.jpg'])

def test_dragged_from_another_page_and_pasted(app, visit):
    page, content = visit(app), base64.b64encode(TEDDY_JPEG).decode()
    page.evaluate(DROP, [[('dragged.jpg', content)], {'text/uri-list': 'https://example.com/bear.jpg'}, 'drop'])
    page.evaluate(DROP, [[('pasted.png', content)], {}, 'paste'])
    page.evaluate(DROP, [[], {'text/uri-list': 'data:image/jpeg;base64,' + content}, 'drop'])
    expect(page.locator('.bc-bars')).to_have_count(3)
    page.evaluate(DROP, [[], {'text/uri-list': 'https://example.com/bear.jpg'}, 'drop'])
    expect(page.get_by_role('status')).to_contain_text('fetches nothing from elsewhere')

def test_a_phone_offers_its_camera(app, visit):
    page = visit(app, viewport=dict(width=390, height=844), is_mobile=True, has_touch=True)
    with page.expect_file_chooser() as chooser: page.get_by_role('button', name='Take a photograph').click()
    assert chooser.value.element.get_attribute('capture') == 'environment'
    expect(page.get_by_role('button', name='Choose a folder')).to_be_hidden()

def test_no_file_is_lost_where_drops_follow_fast(app, visit):
    "The first file of a drop stands first."
    page = visit(app)
    page.evaluate('''([size, drops]) => { for (const names of drops) {
        const list = new DataTransfer();
        for (const name of names) list.items.add(new File([new Uint8Array(size)], name));
        document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: list, bubbles: true, cancelable: true})) } }''', [MAX_BYTES//2, ['3', '4', '012']])
    expect(page.locator('.bc-refused')).to_have_count(5)
    assert page.locator('.bc-name').all_text_contents() == ['0', '1', '2', '4', '3']

def test_of_130_files_all_are_in_the_table(app, visit):
    page, small = visit(app), encoded(TEDDY.resize((32, 32)), 'PNG')
    upload(page, *[(f'{i}.png', small) for i in range(130)])
    expect(page.get_by_role('status')).to_have_text('130 files are answered.')
    assert [r['file'] for r in table(page)] == [f'{i}.png' for i in range(130)]

def test_half_a_jpeg_is_answered_from_what_is_there(app, visit):
    half, tenth = upload(visit(app), ('half.jpg', TEDDY_JPEG[:len(TEDDY_JPEG)//2]), ('tenth.jpg', TEDDY_JPEG[:len(TEDDY_JPEG)//10]))
    expect(half).to_contain_text(re.compile('This file is cut short, and [0-9]+% of the picture is there: the answer is from what is there.'))
    expect(half.locator('.bc-bars')).to_be_visible()
    expect(tenth).to_contain_text('damaged or cut short')

# Slow lines and dead ones

class Line:
    "A way to the server with so many bytes a second towards it; `dead` lets nothing through any more."
    elsewhere = ()
    def __init__(self, app, rate):
        self.listener, self.app, self.rate, self.dead, self.sent, self.pairs = socket.create_server(('localhost', 0)), app, rate, False, 0, []
        self.url = f'http://localhost:{self.listener.getsockname()[1]}/'
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try: ours, _ = self.listener.accept()
            except OSError: return
            theirs = socket.create_connection(('localhost', self.app.port))
            self.pairs += [ours, theirs]
            for a, b, up in ((ours, theirs, True), (theirs, ours, False)): threading.Thread(target=self.pump, args=(a, b, up), daemon=True).start()

    def cut(self):
        broken, self.pairs = self.pairs, [] # the page is on another line at once, which is not broken
        for s in broken: hang_up(s)

    def pump(self, a, b, up):
        try:
            while data := a.recv(4096 if up else 65536):
                if up:
                    self.sent += len(data)
                    time.sleep(len(data)/self.rate)
                while self.dead: time.sleep(.05)
                b.sendall(data)
        except OSError: pass
        for s in (a, b): hang_up(s)

def hang_up(s):
    try: s.shutdown(socket.SHUT_RDWR)
    except OSError: pass

@pytest.fixture
def line(app):
    lines = []
    def line(rate):
        lines.append(Line(app, rate))
        return lines[-1]
    yield line
    for l in lines:
        l.dead = False
        l.listener.close()

def test_a_large_photograph_goes_over_a_slow_line(visit, line):
    slow, exif = line(150_000), Image.Exif()
    exif[274] = 6 # lying on its side
    large = Image.blend(TEDDY.crop((60, 0, 260, 320)).resize((2500, 4000)), Image.effect_noise((2500, 4000), 90).convert('RGB'), .15)
    content = encoded(large.transpose(Image.Transpose.ROTATE_90), quality=95, exif=exif)
    assert len(content) > 4e6
    page = visit(slow)
    before = slow.sent
    shown, = upload(page, ('large.jpg', content))
    assert slow.sent - before < 1.5e6 # it was made small
    expect(shown.get_by_role('heading')).to_have_text(headline(content))
    width, height = shown.get_by_role('img').evaluate('e => [e.naturalWidth, e.naturalHeight]')
    assert width < height # and upright
    upload(page, ('teddy.jpg', TEDDY_JPEG))

def test_a_dead_line_is_given_up_and_the_next_file_goes_through(visit, line):
    slow = line(300_000)
    page = visit(slow, prepare=lambda page: page.clock.install())
    scan, = choose(page, ('scan.tif', encoded(Image.effect_noise((1200, 1200), 90), 'TIFF'))) # no browser opens it, so it goes as it is
    expect(scan).to_contain_text(re.compile('Sending: [1-9]'))
    slow.dead = True
    page.clock.fast_forward(31_000)
    expect(scan.locator('.bc-refused')).to_have_text('The server has not answered for 30 seconds, so this was given up. Give it again on a better line.')
    slow.dead = False
    teddy, = upload(page, ('teddy.jpg', TEDDY_JPEG))
    expect(teddy.get_by_role('heading')).to_have_text(headline(TEDDY_JPEG))
    again, = upload(page, ('scan.tif', encoded(Image.effect_noise((300, 300), 90), 'TIFF')))
    expect(again.get_by_role('heading')).to_be_visible()

def test_a_file_goes_on_over_another_line_where_one_breaks(app, visit, line):
    slow = line(300_000)
    page = visit(slow)
    scan, = choose(page, ('scan.tif', encoded(Image.effect_noise((700, 700), 90), 'TIFF')))
    expect(scan).to_contain_text(re.compile('Sending: [1-9]'))
    slow.cut()
    expect(scan.locator('.bc-bars')).to_be_visible()

def test_a_line_may_miss_a_ping():
    tornado = _settings(Path('app.ipynb'), 'localhost', 1).Voila.tornado_settings
    assert tornado['ws_ping_timeout'] >= 2*tornado['ws_ping_interval'] # else Jupyter closes each line at its first ping

# The answers

def marks(card, p):
    "Where the marks of the bars stand: label -> percent."
    at = card.locator('.bc-bars li').evaluate_all('all => all.map(e => [e.firstChild.textContent, parseFloat(e.querySelector("i")?.style.left)])')
    labels = {p.name_of(k): k for k in p.probs}
    return {labels[name]: left for name, left in at if left == left}

def test_the_slider_moves_all_marks_and_the_table_follows(app, visit):
    page, p = visit(app), Classifier().predict(TEDDY_JPEG)
    teddy, _ = upload(page, ('=teddy, ü.jpg', TEDDY_JPEG), ('note.txt', b'no picture'))
    slider = page.get_by_role('slider', name='How sure must it be?')
    expect(slider).to_have_attribute('aria-valuetext', 'as the model was set')
    deciding = lambda thresholds: {k: pytest.approx(100*t, abs=.06) for k, t in thresholds.items() if k != OTHER}
    assert marks(teddy, p) == deciding(p.thresholds) # beside a bear, "no bear" decides nothing
    percent = teddy.locator('.bc-percent').all_text_contents()
    slider.focus()
    for _ in range(3): slider.press('ArrowRight')
    expect(slider).to_have_attribute('aria-valuetext', 'nearly certain')
    if [k for k in replaced(p, 3).labels if k != OTHER]: assert marks(teddy, p) == deciding(moved(p.thresholds, 3))
    assert teddy.locator('.bc-percent').all_text_contents() == percent
    expect(page.get_by_role('status')).to_contain_text('of 1 picture')
    rows = table(page)
    assert [r['file'] for r in rows] == ["'=teddy, ü.jpg", 'note.txt'] and 'not a picture' in rows[1]['error']
    assert float(rows[0]['teddys']) == pytest.approx(p.probs['teddys'], abs=1e-5)
    assert {r['how sure'] for r in rows} == {'nearly certain'}
    for k, t in moved(p.thresholds, 3).items(): assert float(rows[0][f'{k} counts from']) == pytest.approx(t, abs=1e-5)

def replaced(p, steps):
    from dataclasses import replace
    return replace(p, thresholds=moved(p.thresholds, steps))

@pytest.fixture
def model(tmp_path):
    "Starts the page of a tiny model."
    apps = []
    def model(**changes):
        apps.append(App('--model', tiny_model(tmp_path/f'{len(apps)}.onnx', card(**changes))))
        return apps[-1]
    yield model
    for app in apps: app.stop()

@pytest.fixture(scope='module')
def mapped(tmp_path_factory):
    app = App('--model', tiny_model(tmp_path_factory.mktemp('mapped')/'mapped.onnx',
                                    card(resize=[CROP, CROP], thresholds=dict.fromkeys(LABELS, .005)), maps=True))
    yield app
    app.stop()

def corner(colour, *box):
    im = Image.new('RGB', (64, 64), (30, 30, 30))
    im.paste(colour, box)
    return encoded(im, 'PNG')

def test_where_each_label_was_found(mapped, visit):
    page = visit(mapped)
    red, = upload(page, ('red.png', corner((255, 0, 0), 0, 0, 32, 32)))
    buttons, shown = red.get_by_role('button', name='Where:'), red.locator('.bc-map:visible')
    expect(red.get_by_role('button', name='Where: red, left, at the top')).to_be_visible() # in words too
    assert buttons.count() > 1
    expect(shown).to_have_count(0)
    for i in range(2): # one at a time
        buttons.nth(i).click()
        expect(shown).to_have_count(1)
        expect(buttons.nth(i)).to_have_attribute('aria-pressed', 'true')
        assert red.locator('[aria-pressed=true]').count() == 1
    buttons.nth(1).click()
    expect(shown).to_have_count(0)

def test_words_for_nothing_found(mapped, visit):
    page = visit(mapped)
    grey, = upload(page, ('grey.png', encoded(Image.new('RGB', (64, 64), (30, 30, 30)), 'PNG'))) # each label has 0.0067, counts from 0.005
    expect(grey.locator('li.bc-found')).to_have_count(len(LABELS))
    page.get_by_role('slider').press('ArrowRight')
    expect(grey.get_by_role('heading')).to_have_text('Not sure')
    expect(grey).to_contain_text('The model looked for red, green,')
    expect(page.get_by_role('status')).to_have_text('Something is found in 0 of 1 picture.')

def test_a_polar_bear_is_another_kind_of_bear(model, visit):
    labels = ['black_bear', 'grizzly', 'teddys', 'other_bear', 'bottom_left', 'other']
    page = visit(model(labels=labels, thresholds=dict.fromkeys(labels, .5), names=dict(other='no bear')))
    bear, none, dark = upload(page, ('polar.png', corner('white', 32, 0, 64, 32)), ('none.png', corner('white', 32, 32, 64, 64)), ('dark.png', corner('black', 0, 0, 64, 64)))
    expect(bear.get_by_role('heading')).to_have_text('Another kind of bear')
    expect(none.get_by_role('heading')).to_have_text('No bear')
    expect(none).to_contain_text('looked for black bear, grizzly, teddy bear and bottom left, and takes this for none of them.')
    expect(dark.get_by_role('heading')).to_have_text('Not sure')
    names = lambda card: card.locator('.bc-bars li > :first-child').all_text_contents()
    percents = lambda card: [int(t[:-1]) for t in card.locator('.bc-percent').all_text_contents()]
    for c, n in ((bear, 5), (none, 6), (dark, 6)): # "no bear" last, though it may be most probable; its mark only where it decides
        assert names(c)[-1] == 'no bear' and percents(c)[:-1] == sorted(percents(c)[:-1], reverse=True)
        expect(c.locator('.bc-bar i')).to_have_count(n)

def test_what_the_model_is_worth(app, visit, model):
    exact, foot = Classifier().card.scores['all exact match'], visit(app).locator('footer')
    expect(foot).to_contain_text(f'Of {exact[3]:,.0f} photographs that it had not learned from, all was right for {exact[0]:.0%}. Yours may be harder: it can be wrong.')
    home = 'https://github.com/bearclf/bearclf'
    for name, where in {'Model card': '/blob/main/MODEL_CARD.md', 'Licence': '/blob/main/LICENSE', 'Source': ''}.items():
        expect(foot.get_by_role('link', name=name)).to_have_attribute('href', home + where)
    mine = visit(model()).locator('footer')
    expect(mine).to_contain_text('Model tiny')
    expect(mine.get_by_role('link', name='Model card')).to_have_count(0)

def test_one_removed_all_removed_and_back(app, visit):
    page = visit(app)
    upload(page, ('a.jpg', TEDDY_JPEG), ('b.jpg', ROBOT_JPEG), ('c.jpg', TEDDY_JPEG))
    names = page.locator('.bc-name:visible')
    page.get_by_role('button', name='Remove b.jpg').click()
    expect(names).to_have_text(['a.jpg', 'c.jpg'])
    assert [r['file'] for r in table(page)] == ['a.jpg', 'c.jpg']
    page.get_by_role('button', name='Undo').click()
    expect(names).to_have_text(['a.jpg', 'b.jpg', 'c.jpg'])
    page.get_by_role('button', name='Remove all').click()
    expect(page.locator('.bc-card')).to_have_count(0)
    page.get_by_role('button', name='Undo').click()
    expect(names).to_have_text(['a.jpg', 'b.jpg', 'c.jpg'])
    expect(page.locator('.bc-bars')).to_have_count(3)

def test_a_picture_can_be_enlarged(app, visit):
    page = visit(app)
    upload(page, ('large.jpg', encoded(TEDDY.resize((1500, 1500)))))
    open_ = page.get_by_role('button', name='Enlarge large.jpg')
    open_.click()
    image = page.get_by_role('dialog').get_by_role('img')
    expect(image).to_be_visible()
    eventually(lambda: image.evaluate('e => e.naturalWidth') == 1500) # the file itself, not the thumbnail
    page.keyboard.press('Escape')
    expect(page.get_by_role('dialog')).to_have_count(0)
    expect(open_).to_be_focused()

def test_a_thumbnail_while_it_is_looked_at(app, visit):
    page = visit(app)
    process = kernel(app, page)
    process.suspend()
    try:
        card, = choose(page, ('teddy.jpg', TEDDY_JPEG))
        expect(card.get_by_role('img', name='Your picture teddy.jpg')).to_be_visible()
        assert card.get_by_role('img').evaluate('e => e.decode().then(() => e.naturalWidth)') == TEDDY.width
        expect(card.locator('.bc-bars')).to_have_count(0)
    finally: process.resume()
    expect(card.locator('.bc-bars')).to_be_visible()

# The visitors

def test_two_visitors_see_each_their_own(app, visit):
    one, two = visit(app), visit(app)
    upload(one, ('mine.jpg', TEDDY_JPEG))
    upload(two, ('yours.jpg', ROBOT_JPEG))
    assert [p.locator('.bc-name').all_text_contents() for p in (one, two)] == [['mine.jpg'], ['yours.jpg']]
    one.reload()
    expect(one.locator('[data-example]').first).to_be_visible()
    expect(one.locator('.bc-card')).to_have_count(0)

def test_it_fits_the_screen(app, visit):
    page = visit(app)
    upload(page, ('a file with a name that is long ' + 'and goes on '*12 + 'x'*90 + '.jpg', TEDDY_JPEG), ('n.jpg', b'none'))
    for width in (320, 390, 768, 1280):
        page.set_viewport_size(dict(width=width, height=844))
        assert page.evaluate('''() => [document.documentElement, document.body, ...document.querySelectorAll('.bc-app, .bc-app *:not(.bc-hidden)')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 || (e === document.body || e === document.documentElement) && e.scrollWidth > innerWidth)
            .map(e => e.className)''') == []
        page.evaluate('scrollTo(0, 0)')
        page.mouse.wheel(0, 300)
        eventually(lambda: page.evaluate('scrollY') > 0) # the page itself, not a frame in it

SEVEN = [(f'{i}.jpg', TEDDY_JPEG) for i in range(5)] + [('note.txt', b'no'), ('robot.jpg', ROBOT_JPEG)]

def test_a_phone_shows_a_compact_list_that_is_opened_by_a_tap(app, visit):
    page = visit(app, viewport=dict(width=390, height=844), is_mobile=True, has_touch=True)
    alone, = upload(page, ('alone.jpg', TEDDY_JPEG))
    expect(page.get_by_role('slider')).to_be_in_viewport() # it goes to the answer
    expect(alone.get_by_role('heading')).to_be_in_viewport()
    expect(alone.locator('.bc-bars')).to_be_visible()
    cards = upload(page, *SEVEN)
    expect(page.locator('.bc-bars:visible')).to_have_count(0)
    box = page.locator('.bc-cards').bounding_box()
    assert box['height'] < 844 # eight in a screen
    more = cards[0].get_by_role('button', name='More of 0.jpg')
    expect(more).to_have_attribute('aria-expanded', 'false')
    more.tap()
    expect(cards[0].locator('.bc-bars')).to_be_visible()
    expect(more).to_have_attribute('aria-expanded', 'true')
    cards[1].get_by_role('img').tap(force=True)
    expect(cards[1].locator('.bc-bars')).to_be_visible()
    bad, = upload(page, ('bad.txt', b'no'))
    assert bad.evaluate('c => c.querySelector("h3").getBoundingClientRect().top < c.querySelector(".bc-refused").getBoundingClientRect().top')

def test_the_slider_stays_in_view(app, visit):
    page = visit(app, viewport=dict(width=1280, height=800))
    cards = upload(page, *SEVEN)
    cards[-1].scroll_into_view_if_needed()
    page.evaluate('scrollBy(0, 100)')
    expect(page.get_by_role('slider')).to_be_in_viewport()
    assert page.evaluate('scrollY') > 400 and page.locator('.bc-sure').bounding_box()['y'] == pytest.approx(0, abs=1)

@pytest.mark.parametrize('touch, handle', [(False, 24), (True, 44)])
def test_the_slider_can_be_taken_hold_of(app, visit, touch, handle):
    page = visit(app, viewport=dict(width=390, height=844), is_mobile=touch, has_touch=touch)
    upload(page, ('teddy.jpg', TEDDY_JPEG))
    assert page.get_by_role('slider').evaluate('e => getComputedStyle(e).getPropertyValue("--bc-handle")') == f'{handle}px'
    assert page.get_by_role('slider').bounding_box()['height'] >= 44

@pytest.mark.parametrize('width', [390, 768, 1280])
def test_little_moves_when_answers_come(app, visit, width):
    page = visit(app, viewport=dict(width=width, height=800))
    page.evaluate('''() => { window.shift = 0
        new PerformanceObserver(all => { for (const e of all.getEntries()) if (!e.hadRecentInput) window.shift += e.value }).observe({type: 'layout-shift', buffered: true}) }''')
    upload(page, *SEVEN[3:])
    page.evaluate('() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')
    assert page.evaluate('window.shift') < .1

def test_no_row_is_ragged(app, visit):
    page = visit(app, viewport=dict(width=1280, height=800))
    wide = encoded(TEDDY.resize((600, 200)))
    upload(page, ('wide.jpg', wide), ('a.jpg', TEDDY_JPEG), ('note.txt', b'no'), ('tall.jpg', encoded(TEDDY.resize((200, 600)))))
    boxes = [c.bounding_box() for c in page.locator('.bc-card').all()]
    for a, b in zip(boxes[::2], boxes[1::2]): assert (a['y'], a['height']) == (b['y'], b['height'])
    heads = page.locator('.bc-card h3').evaluate_all('all => all.map(e => e.getBoundingClientRect().top)')
    assert heads[0] == heads[1]

def test_print(app, visit):
    "Seven cards: two or three in a row, on as many pages as that takes; none is blank."
    page = visit(app, viewport=dict(width=1280, height=800))
    upload(page, *SEVEN)
    for landscape in (False, True):
        pages = len(re.findall(rb'/Type\s*/Page\b', page.pdf(format='A4', landscape=landscape)))
        assert pages <= (3 if landscape else 2)
    page.emulate_media(media='print')
    expect(page.get_by_role('button')).to_have_count(0)
    expect(page.locator('.bc-bars').first).to_be_visible()

def test_forced_colours_keep_the_bars(app, visit):
    page = visit(app, forced_colors='active')
    teddy, = upload(page, ('teddy.jpg', TEDDY_JPEG))
    colour = lambda e: e.evaluate('e => getComputedStyle(e).backgroundColor')
    card, bar, found, mark = colour(teddy), colour(teddy.locator('li:not(.bc-found) .bc-bar b').first), colour(teddy.locator('.bc-found .bc-bar b')), colour(teddy.locator('.bc-bar i').first)
    assert len({card, bar, found, mark}) == 4

@pytest.mark.parametrize('kwargs', [dict(), dict(color_scheme='dark'), dict(viewport=dict(width=390, height=844), is_mobile=True, has_touch=True), dict(forced_colors='active')])
def test_axe_finds_nothing(mapped, visit, kwargs):
    page = visit(mapped, **kwargs)
    def serious(): return [(v['id'], [n['html'] for n in v['nodes']]) for v in Axe().run(page).response['violations'] if v['impact'] in ('serious', 'critical')]
    assert serious() == []
    upload(page, ('red.png', corner((255, 0, 0), 0, 0, 32, 32)))
    page.get_by_role('button', name='Where:').first.click()
    assert serious() == []
    upload(page, *SEVEN)
    assert serious() == []
    if not kwargs.get('is_mobile'):
        page.get_by_role('button', name='Enlarge').first.click()
        assert serious() == []

def test_a_screen_reader_gets_a_list_and_headings(app, visit):
    page = visit(app)
    upload(page, *SEVEN)
    answers = page.get_by_role('list', name='Answers')
    assert answers.locator('> li').count() == 7
    expect(answers.get_by_role('heading', level=3)).to_have_count(7)
    expect(page.get_by_role('heading', name='Answers', level=2)).to_have_count(1)

def test_by_keyboard_alone(app, visit):
    page = visit(app)
    def tab():
        page.keyboard.press('Tab')
        assert page.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
        return page.evaluate('document.activeElement.getAttribute("aria-label") || document.activeElement.labels?.[0]?.textContent || document.activeElement.textContent')
    assert [tab() for _ in range(7)] == ['Choose pictures', 'Choose a folder', 'black bear', 'grizzly', 'teddy bear', 'black bear and teddy bear', 'toy']
    page.keyboard.press('Enter')
    expect(page.get_by_role('status')).to_contain_text('drawn toy.jpg: ')
    assert [tab() for _ in range(4)] == ['How sure must it be?', 'Download answers (CSV)', 'Remove all', 'Enlarge drawn toy.jpg']
    assert page.evaluate('document.documentElement.lang') == 'en'

CONTRAST = '''() => {
    const rgb = c => c.match(/[\\d.]+/g).map(Number), light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b };
    const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c } return [255, 255, 255] };
    return [...document.querySelectorAll('.bc-app h1, .bc-app h2, .bc-app h3, .bc-app p, .bc-app li span, .bc-app button, .bc-app a, .bc-app label')]
        .filter(e => e.textContent.trim() && e.offsetParent).map(e => [getComputedStyle(e).color, behind(e), 4.5, e.textContent])
        .concat([...document.querySelectorAll('.bc-bar b, .bc-bar i')].map(e => [getComputedStyle(e).backgroundColor, behind(e.parentElement), 3, 'bar']),
                [...document.querySelectorAll('.bc-drop')].map(e => [getComputedStyle(e).borderColor, behind(e), 3, 'border']))
        .map(([a, b, least, text]) => { const [x, y] = [light(rgb(a)), light(typeof b === 'string' ? rgb(b) : b)].sort((x, y) => y - x); return [(x + .05)/(y + .05), least, text] })
        .filter(([ratio, least]) => ratio < least) }'''

def test_text_has_contrast(app, visit):
    page = visit(app)
    upload(page, ('teddy.jpg', TEDDY_JPEG), ('note.jpg', b'none'))
    for scheme in ('light', 'dark'):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == []
        page_, card = [page.locator(e).evaluate('e => getComputedStyle(e).backgroundColor') for e in ('body', '.bc-card >> nth=0')]
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
        page.get_by_role('slider').press('ArrowRight') # which asks no process
        return lost.is_visible()
    eventually(says_so)
    expect(lost).to_contain_text('lost its connection')
    lost.get_by_role('link').click()
    expect(page.locator('[data-example]').first).to_be_visible()
    expect(page.locator('.bc-card')).to_have_count(0)

@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_processes_are_light(app, visit):
    page = visit(app)
    upload(page, ('teddy.jpg', TEDDY_JPEG))
    loads = lambda p: {name for name in ('zmq', 'numpy', 'onnxruntime', 'torch', 'pandas', 'matplotlib') if f'/{name}' in Path(f'/proc/{p.pid}/maps').read_text()}
    assert loads(kernel(app, page)) == {'zmq'}
    assert set().union(*map(loads, psutil.Process(app.process.pid).children(recursive=True))) == {'zmq', 'numpy', 'onnxruntime'}

def test_the_page_never_imports_training():
    code = ("import random, sys; from bearclf.app import Page, page; from bearclf.drawn import draw; page(); p = Page(); said = []; p.comm.send = said.append;"
            "content = sys.stdin.buffer.read(); p.take(dict(id=0, at=0, size=len(content)), content).result();"
            "print('probs' in said[-1]['answer'], sorted({'torch', 'fastai', 'onnxruntime', 'pandas', 'matplotlib', 'voila', 'ipywidgets', 'numpy'} & {*sys.modules}))")
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

def test_the_first_view_is_light(app, visit):
    "The page is all of it: no script, style, font or picture has to come after it."
    asked = []
    visit(app, prepare=lambda page: page.on('response', lambda r: asked.append((r.url, len(r.body())))))
    weight = {url: size for url, size in asked if '/api/' not in url and not url.startswith('data:')}
    assert [*weight] == [app.url] and sum(weight.values()) < 200_000

def test_the_source_is_not_shown(app):
    assert b'bearclf.app import' not in urllib.request.urlopen(app.url).read()

def test_the_notebook_is_the_one_in_nbs():
    cells = lambda nb: [(c.cell_type, c.source) for c in nb.cells]
    assert cells(nbformat.read(ROOT/'nbs'/'app.ipynb', 4)) == cells(_notebook())

def one_sentence(*args):
    r = subprocess.run([COMMAND, 'app', '--no-browser', *map(str, args)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 2 and r.stdout == '' and len(r.stderr.splitlines()) == 1
    return r.stderr

def test_complaints(app, tmp_path):
    taken = one_sentence('--port', app.port)
    assert f'port {app.port}' in taken and 'in use' in taken
    assert 'gone.onnx' in one_sentence('--port', free_port(), '--model', tmp_path/'gone.onnx')
    assert 'no.such.host' in one_sentence('--port', free_port(), '--host', 'no.such.host.invalid')
    assert '99999' in one_sentence('--port', 99999)

@pytest.mark.parametrize('kernels', [0, 1])
def test_ctrl_c_stops_all(tmp_path, kernels):
    app = App(TMPDIR=str(tmp_path))
    assert app.first == f'The page is at {app.url} (Ctrl-C stops it)\n'
    eventually(lambda: len(app.kernels()) >= kernels) # at once, and while one is made ready
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
    binder.process.wait(timeout=PATIENCE)

def test_as_on_binder(binder, visit):
    assert json.loads((ROOT/'binder'/'jupyter_server_config.json').read_text())['ServerApp']['tornado_settings'] == \
        dict(websocket_max_message_size=2**20)
    page = visit(binder)
    teddy, large = upload(page, ('teddy.jpg', TEDDY_JPEG), ('noise.bmp', b'BM' + bytes(12*2**20))) # more than Jupyter takes by default
    expect(teddy.get_by_role('heading')).to_have_text(headline(TEDDY_JPEG))
    expect(large).to_contain_text('This file')

# The reader
