"Cleaning a set: no kill loses a file or a line of labels.csv, undo undoes, and the page in a real browser."
import io, os, random, re, shutil, socket, subprocess, sys
from pathlib import Path

import nbformat, pytest
from PIL import Image

from bearclf import clean, manifest
from bearclf.clean import Cleaner
from bearclf.data import read_labels
from bearclf.manifest import follow_moves, read_manifest
from bearclf.pictures import DataError, picture_files
from helpers import HOSTILE, PAGE_PATIENCE, PATIENCE, beside, chromium, contents, eventually, in_copies_of, keep_screenshots, kill_at, nothing_lost, tree
from tiny_model import tiny_model

# ---- the manifest

# ---- dedupe

# ---- killed at every moment

def test_cleaning_killed_at_every_moment(root):
    def work():
        c = Cleaner(root)
        i = next(i for i, o in enumerate(c.pictures) if o.file.name == 'z.webp')
        c.move(i, 'teddys')
        c.set_aside(i)
        for _ in range(2): c.undo()
    was, before, copies, moment = contents(root), tree(root), in_copies_of(root), 0
    seen = set()
    while True:
        next(copies)
        moment += 1
        killed = kill_at(moment, work)
        nothing_lost(root, was)
        c = Cleaner(root)
        [z] = [f for d in (root, beside(root)) if d.exists() for f in picture_files(d) if f.name == 'z.webp']
        place = Path(os.path.relpath(z, root)).as_posix()
        assert place in (*follow_moves(read_manifest(root)), 'two_kinds/z.webp')
        labels = {'teddys/z.webp': ('teddys',), 'two_kinds/z.webp': ('black_bear', 'grizzly')}.get(place)
        if labels: assert [o.labels for o in read_labels(root) if o.file == z] == [labels], f'killed at {moment}'
        else: assert [o.labels for o in read_labels(beside(root))] == [('teddys',)]
        assert len(c.pictures) == len(read_labels(root)) and contents(root, *([beside(root)] if beside(root).exists() else [])) == was
        seen.add(place)
        if not killed: break
    assert tree(root)[:2] == (before[0], [before[1][0], ['file,labels']]) and len(seen) == 3

# ---- the cleaner

def test_every_step_is_undone(root):
    (root/'other'/HOSTILE).write_text('no')
    was, rng, c = contents(root), random.Random(1), Cleaner(root)
    files, rows = picture_files(root), sorted((root/'labels.csv').read_text().splitlines())
    steps = 0
    for _ in range(120):
        i, what = rng.randrange(len(c.pictures)), rng.randrange(4)
        if c.pictures[i].state == 'set aside':
            with pytest.raises(DataError, match='undo'): c.move(i, 'other')
            continue
        n = len(c._steps)
        if what == 0: c.keep(i, rng.randrange(len(c.pictures)))
        elif what == 1 and rng.random() < .3: c.set_aside(i)
        else: c.move(i, rng.choice(c.labels))
        steps += len(c._steps) - n
        assert sum(c.counts.values()) == len(c.pictures) and contents(root, *([beside(root)] if beside(root).exists() else [])) == was
    assert len(read_labels(root)) == len(picture_files(root)) and {o.file: o.labels for o in read_labels(root)} == {o.file: o.labels for o in c.pictures if o.state != 'set aside'}
    for _ in range(steps): assert c.undo() is not None
    assert c.undo() is None and c.counts['left'] == len(c.pictures)
    assert picture_files(root) == files and sorted((root/'labels.csv').read_text().splitlines()) == rows and picture_files(beside(root)) == []

def test_nothing_is_overwritten(root):
    a, b = picture_files(root/'grizzly')[0], root/'teddys'/picture_files(root/'grizzly')[0].name
    shutil.copy(picture_files(root/'teddys')[0], b)
    was, c = contents(root), Cleaner(root)
    i = next(i for i, o in enumerate(c.pictures) if o.file == a)
    c.move(i, 'teddys')
    assert c.pictures[i].file.name == f'{a.stem} (2).jpg' and contents(root) == was
    a.write_bytes(b'another, come in the meantime')
    c.undo()
    assert c.pictures[i].file == a.with_name(f'{a.stem} (2).jpg') and a.read_bytes() == b'another, come in the meantime'
    c.pictures[i].file.unlink()
    with pytest.raises(DataError, match='is gone'): c.set_aside(i)
    assert c.counts['aside'] == 0 and c.undo() is None

def test_what_lies_in_a_folder_that_is_linked_to_stays(root, tmp_path):
    shutil.copytree(root/'teddys', tmp_path/'theirs')
    (root/'theirs').symlink_to(tmp_path/'theirs')
    c = Cleaner(root)
    before, places = tree(tmp_path/'theirs'), [i for i, o in enumerate(c.pictures) if o.file.parent.name == 'theirs']
    assert places
    for i in places:
        with pytest.raises(DataError, match='only linked to'): c.set_aside(i)
        with pytest.raises(DataError, match='only linked to'): c.move(i, 'other')
    with pytest.raises(DataError, match='only linked to'): # nor is anything put there
        c.move(next(i for i, o in enumerate(c.pictures) if o.file.parent.name == 'grizzly'), 'theirs')
    assert c.undo() is None
    assert tree(tmp_path/'theirs') == before

def test_labels_that_are_no_folders(root):
    c = Cleaner(root)
    for bad in ('../x', 'a/b', '.hidden', 'panda', ''):
        with pytest.raises(DataError, match='no label'): c.move(0, bad)
    (root.parent/'empty').mkdir()
    with pytest.raises(DataError, match='no pictures'): Cleaner(root.parent/'empty')

def test_a_folder_that_is_written_otherwise_than_its_label(root):
    (root/'other').rename(root/'Other')
    c = Cleaner(root)
    i = next(i for i, o in enumerate(c.pictures) if o.labels == ('grizzly',))
    c.move(i, 'other')
    assert c.pictures[i].file.parent == root/'Other' and not (root/'other').exists()

def test_the_most_doubtful_come_first(root):
    (root/'other'/'broken.jpg').write_text('no')
    Image.new('RGB', (90, 300), 'red').save(root/'other'/'thin.png')
    shutil.copy(picture_files(root/'black_bear')[0], root/'teddys'/'zz.jpg')
    c = Cleaner(root)
    assert [(c.name(i), c.pictures[i].doubt) for i in range(4)] == [
        ('other/broken.jpg', 'is not a picture in a format that can be read (JPEG, PNG, WebP, HEIC...).'), ('other/thin.png', 'only 90 x 300 pixels'),
        ('black_bear/black_bear-42-0000.jpg', 'looks like teddys/zz.jpg'), ('teddys/zz.jpg', 'looks like black_bear/black_bear-42-0000.jpg')]
    assert [o.guess for o in c.pictures[2:4]] == ['teddys', 'black_bear']
    assert {o.file.name for o in c.pictures[4:9]} == {'small.jpg', 'grizzly-42-0000.jpg', 'z.webp', 'copy.png', 'black_bear-grizzly-42-0000.jpg'}
    assert [o.file for o in c.pictures[9:]] == sorted(o.file for o in c.pictures[9:]) and not any(o.doubt for o in c.pictures[9:])

def test_the_most_doubtful_by_a_models_loss(tmp_path):
    root = tmp_path/'set'
    for file, colour in {'red/1.png': 'red', 'red/wrong.png': 'lime', 'green/2.png': 'lime', 'green/grey.png': 'grey', 'bottom/3.png': 'grey'}.items():
        (root/file).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (120, 120), colour).save(root/file)
    (root/'red'/'broken.png').write_text('no')
    c = Cleaner(root, tiny_model(tmp_path/'tiny.onnx'))
    losses = [float(o.doubt.split()[1][:-1]) for o in c.pictures[1:]]
    assert [c.name(i) for i in range(3)] == ['red/broken.png', 'red/wrong.png', 'green/grey.png'] and losses == sorted(losses, reverse=True) and losses[0] > 3
    assert c.pictures[1].guess == 'green' and 'green 100%' in c.pictures[1].doubt and {'red', 'top_left'} <= {*c.labels}
    shutil.rmtree(root/'red')
    shutil.rmtree(root/'green')
    with pytest.raises(DataError, match='knows none'): Cleaner(root, tmp_path/'tiny.onnx')

# ---- the page

def test_a_page_reads_its_own_pictures_only(root, monkeypatch):
    seen, small = [], clean._small
    monkeypatch.setattr(clean, '_small', lambda f: seen.append(f) or small(f))
    page = clean._Page(Cleaner(root), 4)
    assert len(seen) == 4
    page.bar.on.click()
    assert len(seen) == 8 and len(page.grid.children) == 4

def test_pages_turned_leave_nothing_behind(root):
    from ipywidgets.widgets.widget import _instances
    page = clean._Page(Cleaner(root), 1)
    def turn():
        for _ in range(6): page.bar.on.click()
        for _ in range(6): page.bar.back.click()
        return len(_instances)
    assert turn() == turn() == turn()

def test_names_are_text_to_the_page(root):
    (root/HOSTILE[:-4]).mkdir()
    shutil.copy(picture_files(root/'teddys')[0], root/HOSTILE[:-4]/HOSTILE)
    page = clean._Page(Cleaner(root), 50)
    assert any('&lt;img src=x' in c.figure.value for c in page.cards)
    for html in [c.figure.value for c in page.cards] + [page.bar.said.value, page.bar.count.value]:
        assert '<img src=x' not in html and len(re.findall('<img', html)) <= 1

def test_pictures_are_shown_upright_and_small(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((2000, 1000), 60).save(tmp_path/'a.jpg', exif=exif)
    small = clean._small(tmp_path/'a.jpg')
    assert Image.open(io.BytesIO(small)).size == (160, 320) and len(small) < 50_000

def test_a_table_that_can_not_be_written_is_said_and_the_move_can_be_undone(root, monkeypatch):
    c = Cleaner(root)
    i = next(i for i, o in enumerate(c.pictures) if o.file.name == 'z.webp')
    with monkeypatch.context() as m:
        m.setattr(manifest, '_rename_rows', lambda *a: (_ for _ in ()).throw(DataError('The disk is full.')))
        with pytest.raises(DataError, match='full'): c.move(i, 'teddys')
    assert c.pictures[i].state == 'moved' and c.pictures[i].file.is_file()
    before = tree(root)[1]
    c.undo()
    assert tree(root)[1] == before and len(read_labels(root)) == len(c.pictures)

def test_a_broken_picture_is_shown_as_such(root):
    (root/'other'/'broken.jpg').write_text('no')
    assert 'can not be read' in clean._Page(Cleaner(root), 3).cards[0].figure.value

@pytest.fixture
def served(root):
    "The address of a notebook with the page, served by Voila."
    (root/'other'/HOSTILE).write_text('no')
    shutil.copy(picture_files(root/'black_bear')[0], root/'teddys'/'zz.jpg')
    folder = root.parent/'served'
    folder.mkdir()
    cell = nbformat.v4.new_code_cell(f'from bearclf.clean import clean\nclean({str(root)!r}, per_page=6)')
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=dict(kernelspec=dict(name='python3', display_name='Python 3', language='python'))), folder/'page.ipynb')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    with open(folder/'log', 'w') as log:
        server = subprocess.Popen([sys.executable, '-m', 'voila', folder/'page.ipynb', '--no-browser', f'--port={port}', '--Voila.ip=127.0.0.1'], stdout=log, stderr=log)
    try:
        def answers():
            assert server.poll() is None, (folder/'log').read_text()
            with socket.socket() as s: return s.connect_ex(('127.0.0.1', port)) == 0
        eventually(answers)
        yield f'http://127.0.0.1:{port}/'
    finally:
        server.terminate()
        server.wait(PATIENCE)

@pytest.fixture
def browser(request):
    "A page of Debian's Chromium. No error may be said in its console; of a test that fails a screenshot is left."
    with chromium() as chrome:
        page = chrome.new_page(viewport=dict(width=1280, height=900))
        page.route(lambda url: '127.0.0.1' not in url, lambda route: route.fulfill(status=200, body=''))  # fonts that Voila asks for
        page.errors = []
        page.on('console', lambda m: page.errors.append(m.text) if m.type == 'error' else None)
        page.on('pageerror', lambda e: page.errors.append(str(e)))
        page.set_default_timeout(PAGE_PATIENCE)
        failed = request.session.testsfailed
        yield page
        if request.session.testsfailed > failed or page.errors: keep_screenshots(request, [page])
    assert page.errors == []

def test_in_a_browser(root, served, browser):
    was, files, rows = contents(root), picture_files(root), sorted((root/'labels.csv').read_text().splitlines())
    zz = root/'teddys'/'zz.jpg'
    browser.goto(served)
    browser.wait_for_selector('.bc-card img')
    card = lambda name: browser.locator('.bc-card').filter(has=browser.locator('.bc-name', has_text=name))
    says = lambda text: browser.get_by_text(text, exact=False).first.wait_for()
    says('Page 1 of 3')
    assert browser.locator('.bc-card').count() == 6
    assert 'can not be read' in browser.locator('.bc-card').first.inner_text() and HOSTILE in browser.locator('.bc-card').first.inner_text()
    assert browser.locator('.bc-card img').evaluate_all('shots => shots.every(s => s.naturalWidth > 100 && s.alt.startsWith("Picture"))')

    card('zz.jpg').get_by_label('Another label for teddys/zz.jpg').select_option('black_bear')  # move
    card('zz.jpg').get_by_role('button', name='Move').click()
    says('1 moved')
    assert not zz.exists() and (root/'black_bear'/'zz.jpg').is_file()
    card('black_bear-grizzly-42-0000.jpg').get_by_role('button', name='Set aside').focus()                 # by keyboard
    browser.keyboard.press('Enter')
    says('1 set aside')
    assert (beside(root)/'two_kinds'/'black_bear-grizzly-42-0000.jpg').is_file() and 'black_bear-grizzly-42-0000.jpg' in (beside(root)/'labels.csv').read_text()
    browser.keyboard.press('Enter')                                                  # a second time: said, nothing done
    says('undo brings it back')
    browser.get_by_role('button', name='Keep the rest, next page').click()
    says('Page 2 of 3')
    says('4 kept')
    browser.locator('.bc-card').first.get_by_role('button', name='Keep').click()
    says('5 kept')
    assert [(o['file'], o['moved_to'], o['why']) for o in read_manifest(root) if 'why' in o] == [
        ('teddys/zz.jpg', 'black_bear/zz.jpg', 'by hand'), ('two_kinds/black_bear-grizzly-42-0000.jpg', f'../{beside(root).name}/two_kinds/black_bear-grizzly-42-0000.jpg', 'by hand')]
    for left in ('4 kept', '0 kept', '0 set aside', '0 moved'):                      # all the way back, over the end of the page
        browser.get_by_role('button', name='Undo').click()
        says(left)
    says('Page 1 of 3')
    assert picture_files(root) == files and contents(root, beside(root)) == was and sorted((root/'labels.csv').read_text().splitlines()) == rows
    browser.get_by_role('button', name='Undo').click()
    says('nothing to undo')

def test_dark_and_small(served, browser):
    browser.set_viewport_size(dict(width=390, height=800))
    browser.goto(served + '?theme=dark')
    browser.wait_for_selector('.bc-card img')
    assert browser.evaluate('document.documentElement.scrollWidth') <= 390
    def light(css): return sum(map(int, re.findall(r'\d+', css)[:3]))/765
    for part in ('.bc-name', '.bc-card button', '.bc-card select', '.bc-bar'):
        colour, ground = browser.locator(part).first.evaluate('''e => { const c = getComputedStyle(e).color
            for (; e; e = e.parentElement) { const b = getComputedStyle(e).backgroundColor; if (!b.endsWith(', 0)')) return [c, b] } return [c, 'rgb(255, 255, 255)'] }''')
        assert light(colour) > .7 and light(ground) < .4, (part, colour, ground)
