"""The page without a server in a real browser (Debian's chromium): the same answers as Python's, files of every kind, hostile ones too, offline, and no
request that leaves its folder. Needs npm, or in BEARCLF_RUNTIME a folder as `bearclf site --runtime` takes it."""
import base64, csv, functools, http.server, io, os, random, re, shutil, struct, subprocess, threading, zlib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np, onnx, onnxruntime as ort
import pillow_heif, pytest
from PIL import Image
from playwright.sync_api import expect

from bearclf import site as room
from bearclf.drawn import draw
from bearclf.inference import Classifier
from bearclf.page import SURENESS, examples
from bearclf.pictures import BearclfError, CutShort, DECODE_SIDE, MAX_PIXELS, PictureError, open_picture, spoken
from bearclf.site import MAX_BYTES, build_site, packages, site
from bearclf.wasm import _whole_numbers, for_browsers
from helpers import DROP, PAGE_PATIENCE, chromium, encoded, keep_screenshots, moved
from tiny_model import LABELS, card, tiny_model

RUNTIME = os.environ.get('BEARCLF_RUNTIME')

expect.set_options(timeout=PAGE_PATIENCE) # where all is well nothing waits; a busy machine is no defect of the page

def heic(im):
    f = io.BytesIO()
    pillow_heif.from_pillow(im).save(f, quality=-1)
    return f.getvalue()

TEDDY, ROBOT = draw(('teddys',), random.Random(4)), draw((), random.Random(2))
TEDDY_JPEG, ROBOT_JPEG = encoded(TEDDY), encoded(ROBOT)

# Sites and who serves them

class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.server.down: return self.connection.close()
        super().do_GET()

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    "Serves the sites in `folder`, each two folders deep: an address has to be relative to work there."
    folder = tmp_path_factory.mktemp('web')
    server = http.server.ThreadingHTTPServer(('localhost', 0), functools.partial(Handler, directory=folder))
    server.folder, server.asked, server.down, server.origin = folder, [], False, f'http://localhost:{server.server_port}/'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()

@pytest.fixture(scope='module')
def runtime(tmp_path_factory):
    "The runtime, fetched once."
    if RUNTIME: return RUNTIME
    try: files = {f: c for name, pins in packages().items() for f, c in room.from_npm(name, pins).items()}
    except BearclfError as e:
        if os.environ.get('CI'): raise
        pytest.skip(str(e))
    folder = tmp_path_factory.mktemp('runtime')
    for f, content in files.items(): (folder/Path(f).name).write_bytes(content)
    return folder

@pytest.fixture(scope='module')
def shipped(runtime, tmp_path_factory):
    "The site of the model that ships."
    build_site(folder := tmp_path_factory.mktemp('shipped')/'try', runtime=runtime)
    return folder

@pytest.fixture(scope='module')
def built(server, runtime, shipped):
    "Puts a site there, of the model that ships or another, and gives its address."
    def built(name, model=None, **changed): # file -> (text, the text that takes its place)
        (server.folder/'a b'/name).mkdir(parents=True)
        if model: build_site(server.folder/'a b'/name/'try', model, runtime)
        else: shutil.copytree(shipped, server.folder/'a b'/name/'try', copy_function=shutil.copyfile) # as new: browsers ask less often for old files
        for f, (old, new) in changed.items():
            f = (server.folder/'a b'/name/'try'/f).with_suffix('.js')
            assert old in f.read_text()
            f.write_text(f.read_text().replace(old, new))
        return f'{server.origin}a%20b/{quote(name)}/try/'
    return built

@pytest.fixture(scope='module')
def url(built): return built('bears')

@pytest.fixture(scope='module')
def browser():
    with chromium() as browser: yield browser

@pytest.fixture
def visit(browser, server, request):
    "Opens a page for a new visitor. Whatever it does, nothing is asked of anybody but its own folder, nothing is sent, and no error shows in the console."
    contexts, complaints, failed = [], [], request.session.testsfailed
    def visit(url, ready=True, **kwargs):
        context = browser.new_context(**kwargs)
        contexts.append(context)
        def check(r):
            if not r.url.startswith((url, 'blob:' + server.origin, 'data:,')) or r.method != 'GET' or r.post_data: complaints.append(f'{r.method} {r.url}')
        context.on('request', check) # of the page, its worker and its service worker
        page = context.new_page()
        page.set_default_timeout(PAGE_PATIENCE)
        page.on('console', lambda m: m.type != 'error' or complaints.append(m.text))
        page.on('pageerror', lambda e: complaints.append(str(e)))
        page.goto(url)
        if ready: expect(page.locator('body')).to_have_attribute('data-ready', 'true')
        return page
    yield visit
    if request.session.testsfailed > failed: keep_screenshots(request, [page for c in contexts for page in c.pages])
    for context in contexts: context.close()
    assert not complaints

def give(page, *files, to='#files'):
    "Choose `files`, (name, content); wait until each has its answer and give their cards in this order."
    done = page.locator('.bc-card .bc-bars, .bc-card .bc-refused')
    before = done.count()
    page.set_input_files(to, [dict(name=n, mimeType='', buffer=c) for n, c in files])
    expect(done).to_have_count(before + len(files))
    return [page.locator('.bc-card').nth(i) for i in range(len(files))]

def table(page):
    "The downloaded table: file -> its line."
    with page.expect_download() as download: page.get_by_role('button', name='Download answers').click()
    text = Path(download.value.path()).read_bytes().decode('utf-8-sig')
    return {r['file']: r for r in csv.DictReader(io.StringIO(text, newline=''))}

def difference(row, prediction): return max(abs(float(row[k]) - p) for k, p in prediction.probs.items())

def same(row, prediction, within=.03):
    "Is a line of the table what Python says?"
    assert row['labels'] == ';'.join(prediction.labels)
    assert difference(row, prediction) < within

# The same answers

def os2(im):
    "A bitmap with the short header of OS/2."
    rows = [im.crop((0, y, im.width, y + 1)).tobytes('raw', 'BGR') for y in reversed(range(im.height))]
    body = b''.join(row + bytes(-len(row) % 4) for row in rows)
    return b'BM' + struct.pack('<IHHI', 26 + len(body), 0, 0, 26) + struct.pack('<IHHHH', 12, *im.size, 1, 24) + body

def pictures():
    "Drawn pictures in every shape and format that browsers know: name -> content."
    long = draw(('black_bear', 'teddys'), random.Random(25)).resize((960, 240))
    clear = TEDDY.copy()
    clear.putalpha(TEDDY.convert('L').point(lambda v: 255 if v > 90 else 40))
    exif = Image.Exif()
    exif[274] = 6 # lying on its side
    tall = TEDDY.crop((60, 0, TEDDY.width - 60, TEDDY.height))
    deep = Image.fromarray(np.asarray(TEDDY.convert('L')).astype(np.uint16)*257)
    res = {'teddy.jpg': TEDDY_JPEG, 'teddy.png': encoded(TEDDY, 'PNG'), 'teddy.webp': encoded(TEDDY, 'WEBP'), 'teddy.gif': encoded(TEDDY, 'GIF'),
           'teddy.bmp': encoded(TEDDY, 'BMP'), 'teddy.avif': encoded(TEDDY, 'AVIF'), 'robot.jpg': ROBOT_JPEG, 'long.png': encoded(long, 'PNG'),
           'high.png': encoded(long.rotate(90, expand=True), 'PNG'), 'clear.png': encoded(clear, 'PNG'), 'lying.jpg': encoded(tall.rotate(90, expand=True), exif=exif),
           'grey.jpg': encoded(TEDDY.convert('L')), 'palette.png': encoded(TEDDY.quantize(32), 'PNG'), 'deep.png': encoded(deep, 'PNG'),
           'progressive.jpg': encoded(TEDDY, progressive=True), 'more.png': encoded(TEDDY, 'PNG') + bytes(9000), 'os2.bmp': os2(TEDDY), 'tiny.png': encoded(TEDDY.resize((7, 5)), 'PNG')}
    sure = (('black_bear', 66), ('grizzly', 57), ('teddys', 22)) # all teddies to the model: in the middle of the scale a bit in a pixel counts
    for i, (kind, seed) in enumerate(sure): # where Python decodes at 1/2, 1/4, 1/8
        large = draw((kind,), random.Random(seed), size=1280)
        res |= {f'{kind}{n}.jpg': encoded(large.resize((large.width*n, large.height*n)), quality=90) for n in (1, 2, 4)[:i + 1]}
    return res

def test_the_page_answers_as_python_does(url, visit):
    page, files = visit(url), pictures()
    give(page, *files.items())
    rows, classifier = table(page), Classifier()
    assert rows.keys() == files.keys()
    predictions = {name: classifier.predict(content) for name, content in files.items()}
    for name, p in predictions.items():
        marks = [abs(p.probs[k] - t) for k, t in p.thresholds.items()]
        if min(marks) > .03: assert rows[name]['labels'] == ';'.join(p.labels), name
    far = {name: d for name, p in predictions.items() if (d := difference(rows[name], p)) > .03}
    assert len(far) <= 1 and not any(d > .1 for d in far.values()), far # JPEGs, by a bit here and there
    assert all(name.endswith('.jpg') for name in far), far
    for name, content in files.items(): # of the same pixels it says the same
        same(rows[name], classifier.predict(decoded(page, classifier.card, content)), 1e-3)

OPENED = """async ([content, card, side]) => {
    const {open} = await import('./pictures.js'), {draft, partsOf, reduced, seen} = await import('./infer.js'), {Kernels} = await import('./kernels.js')
    const kernels = await Kernels.load(await (await fetch('kernels-plain.wasm')).arrayBuffer(), 1)
    const file = new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], '')
    const {kind, bitmap} = await open(file, {maxBytes: 1e9, maxPixels: 1e9})
    const picture = reduced(bitmap, kind === 'jpeg' ? draft(bitmap.width, bitmap.height, side) : 1, kernels), {width, height, at} = picture
    const base64 = bytes => Array.from({length: Math.ceil(bytes.length/32768)}, (_, i) => btoa(String.fromCharCode(...bytes.subarray(i*32768, (i + 1)*32768))))
    return %s
}"""

def opened(page, card, content, wanted):
    "What `wanted` is of the picture that the page has opened."
    return page.evaluate(OPENED % wanted, [base64.b64encode(content).decode(), card.to_dict(), DECODE_SIDE])

def pixels_of(content, height, width): return np.frombuffer(b''.join(map(base64.b64decode, content)), 'u1').reshape(height, width, 4)[..., :3]

def decoded(page, card, content):
    "The pixels that the page has of a picture, made smaller as it does that."
    return pixels_of(*opened(page, card, content, '[base64(kernels.view(Uint8Array, at, 4*width*height)), height, width]'))

def seen(page, card, content):
    "What the page gives to the network for a picture, normalised as `Classifier.preprocess` does it."
    parts = opened(page, card, content, 'partsOf(picture, ...card.resize).map(box => base64(seen(picture, box, card, kernels)))')
    pixels = np.array([pixels_of(p, *card.size) for p in parts])
    return ((pixels/255 - card.mean)/card.std).transpose(0, 3, 1, 2)

def test_what_the_network_sees_is_exactly_what_python_prepares(url, visit):
    page, classifier = visit(url), Classifier()
    for size in ((320, 240), (257, 700), (900, 200), (90, 1000), (1, 1)):
        content = encoded(Image.effect_noise(size, 90).convert('RGB'), 'PNG')
        assert np.abs(seen(page, classifier.card, content) - classifier.preprocess(content)).max() < 1e-5, size

def test_a_large_jpeg_is_made_smaller_as_its_decoder_does(url, visit):
    "Decoders round differently, and smooth colours differently: by less than one of 256 steps."
    page, classifier = visit(url), Classifier()
    for content in (c for name, c in pictures().items() if name[-5] in '124'):
        gap = np.abs(seen(page, classifier.card, content) - classifier.preprocess(content))
        assert (gap*np.reshape(classifier.card.std, (3, 1, 1))*255).mean() < 1

@pytest.mark.parametrize('name, changes', [
    ('many', dict(thresholds=dict.fromkeys(LABELS, .4))),
    ('one', dict(multi_label=False, thresholds={}))])
def test_any_model_of_bearclf(name, changes, built, visit, tmp_path):
    "Labels of one's own, several at once or exactly one, a crop of the middle."
    model = tiny_model(tmp_path/'tiny.onnx', card(**changes))
    rng = np.random.default_rng(0)
    quarters = [rng.integers(0, 256, (2, 2, 3), np.uint8) for _ in range(6)]
    files = {f'{i}.png': encoded(Image.fromarray(q).resize((90, 70), Image.NEAREST), 'PNG') for i, q in enumerate(quarters)}
    page = visit(built(f'tiny {name}', model))
    expect(page.get_by_role('heading', level=1)).to_have_text('What is in your picture?')
    expect(page.locator('header')).to_contain_text('red, green, top left')
    expect(page.locator('[data-example]')).to_have_count(0)
    give(page, *files.items())
    if name == 'many': expect(page.get_by_role('slider')).to_be_visible()
    else: expect(page.get_by_role('slider')).to_be_hidden()
    rows, classifier = table(page), Classifier(model)
    for f, content in files.items(): same(rows[f], classifier.predict(content), 1e-4)

SAID = """async ([name, code, threads, card, pixels]) => {
    const {Kernels} = await import('./kernels.js'), {load} = await import('./model.js'), bytes = async name => (await fetch(name)).arrayBuffer()
    const kernels = await Kernels.load(await bytes(code), threads), run = load(card, kernels, await bytes(name)), said = []
    for (const p of pixels) {
        const {logits, evidence, whole} = run(Uint8Array.from(atob(p), c => c.charCodeAt(0)))
        said.push([logits, evidence, ...whole ? [whole] : []].map(o => [...o.data]))
        kernels.reset()
    }
    return [kernels.threads, said]
}"""

def said(page, folder, model, code, threads=1, n=4):
    "What network.js says of `n` drawings, and what onnxruntime says: logits, maps and what is said of the whole."
    classifier = Classifier(model)
    (folder/f'{model.stem}.test').write_bytes(for_browsers(classifier))
    session = ort.InferenceSession(str(model), providers=['CPUExecutionProvider'])
    drawings = [draw((('teddys',), ('grizzly', 'black_bear'), ())[i % 3], random.Random(i)).resize(classifier.card.size[::-1]) for i in range(n)]
    pixels = [base64.b64encode(im.convert('RGBA').tobytes()).decode() for im in drawings]
    used, found = page.evaluate(SAID, [f'{model.stem}.test', code, threads, classifier.card.to_dict(), pixels])
    assert used == threads
    for mine, im in zip(found, drawings):
        for a, b in zip(mine, session.run(None, dict(image=classifier.preprocess(im)))): yield np.array(a), b.ravel()

@pytest.fixture(scope='module')
def quick(tmp_path_factory):
    """A small network in eight bits, of convolutions and averages of all kinds, in an uneven size: random, and with weights at both ends of what eight bits hold."""
    import torch
    from bearclf.export import update_card
    from bearclf.features import to_int8, to_onnx
    torch.manual_seed(0)
    n = torch.nn
    class Twice(n.Module):
        def __init__(self, *layers):
            super().__init__()
            self.layers = n.Sequential(*layers)
        def forward(self, x): return x + self.layers(x)
    class Mapped(n.Module):
        def __init__(self, *layers):
            super().__init__()
            self.layers = n.Sequential(*layers)
        def forward(self, x):
            evidence = self.layers(x)
            return evidence.mean((2, 3)), evidence
    net = Mapped(n.Conv2d(3, 16, 3, 2), n.ReLU6(), n.ZeroPad2d((1, 2, 1, 2)), n.Conv2d(16, 16, 5, 2, groups=16), n.ReLU6(), n.Conv2d(16, 32, 1, 2),
                 Twice(n.Conv2d(32, 32, 3, 1, 1, groups=32), n.ReLU6(), n.Conv2d(32, 32, 1)), n.Conv2d(32, 40, 3, padding=1), n.ReLU(),
                 n.AvgPool2d(2, 1), n.AvgPool2d(3, 1), n.Conv2d(40, 6, 1)).eval()
    for layer in net.modules():
        if isinstance(layer, n.Conv2d):
            layer.weight.data[::3, 0].fill_(layer.weight.abs().max()*1.2)
            layer.weight.data[::3, -1, -1, -1] = -layer.weight.max()
    folder = tmp_path_factory.mktemp('quick')
    to_onnx(net, dict(image=(3, 75, 50)), str(folder/'floats.onnx'), ['logits', 'evidence'])
    to_int8(folder/'floats.onnx', folder/'quick.onnx', [dict(image=torch.randn(4, 3, 75, 50).numpy())])
    update_card(folder/'quick.onnx', **card(resize=[75, 50], size=[75, 50], mean=[.485, .456, .406], std=[.229, .224, .225]))
    return folder/'quick.onnx'

@pytest.fixture(scope='module')
def others(drawn, tmp_path_factory):
    "What `bearclf train` writes with the other two backbones, but for the training."
    import torch
    from bearclf.data import read_labels
    from bearclf.export import export_onnx, rescale_logits
    from bearclf.features import SIDES, BearHead, Whole
    from bearclf.multilabel import bear_dataloaders, bear_learner
    folder, res = tmp_path_factory.mktemp('others'), []
    for arch in ('tf_efficientnet_lite0', 'tf_efficientnet_lite1'):
        learn = bear_learner(bear_dataloaders(read_labels(drawn), size=SIDES[arch]), arch)
        n = len(learn.dls.vocab)
        learn.model[1] = head = BearHead(1280, n)
        head.whole = Whole(torch.randn(n + 1, 1280 + 384)/30, torch.zeros(n + 1), np.eye(n)[[*range(n), 0]], intermediate=384)
        export_onnx(learn, file := folder/f'{arch}.onnx', int8=True)
        rescale_logits(file, np.full(n, 3.), np.zeros(n))
        rescale_logits(file, np.full(n, 2.), np.zeros(n), ['whole'])
        res.append(file)
    return res

@pytest.mark.parametrize('code', ['kernels.wasm', 'kernels-plain.wasm'])
def test_the_network_says_what_onnxruntime_says(code, url, visit, server, quick, others):
    page, folder = visit(url), server.folder/'a b'/'bears'/'try'
    for model in (room.MODEL, quick, *others):
        gaps = [np.abs(a - b).max()/b.std() for a, b in said(page, folder, model, code)]
        assert max(gaps) < 1e-4, (model.stem, gaps)

@pytest.mark.parametrize('labels', [['bear', 'other'], ['bear', 'fox'], ['bear', 'fox', 'other'], ['bear', 'fox', 'hare', 'other', 'wolf']])
def test_who_answers_is_decided_as_in_python(labels, url, visit):
    "Of pictures in one piece, looked at more closely or not, and of pieces; with ties."
    from types import SimpleNamespace
    from bearclf.inference import _Network, _hear
    from bearclf.voices import Company, told
    rng, n, cases, wanted, looks = np.random.default_rng(0), len(labels), [], [], np.zeros(2)
    def odd(box): return (box[0]*7 + box[1]*3 + box[2]*11 + box[3]*5) % 101/40 - 1
    for k in range(300):
        thresholds, at = (dict(zip(labels, rng.uniform(.1, .9, n))) for _ in range(2))
        weights, kinds = [*rng.uniform(0, 1, 4)], n - ('other' in labels)
        company = Company(at, weights, rng.normal(-3, 3) + 20*sum(weights[kinds:3]), [*rng.normal(1, .5, 2), rng.normal()])
        shape, digits = (1 if k % 2 else rng.integers(2, 5), n), rng.integers(0, 3)
        said = dict(logits=rng.normal(0, 3, shape).round(digits), whole=rng.normal(0, 2, shape).round(digits), evidence=rng.normal(0, 4, (*shape, 3, 5)))
        closer, size = rng.normal(0, 2, n), rng.integers(1, 500, 2).tolist()
        picture = SimpleNamespace(size=size, crop=lambda box: box)
        network = SimpleNamespace(company=company, card=SimpleNamespace(labels=labels), ask=lambda boxes: dict(whole=[closer*odd(boxes[0])]))
        network.of_all = functools.partial(_Network.of_all, network)
        heard = _hear(network, picture, said)
        looks += ~np.isnan(heard.closer[0, :, 0])
        wanted.append(told(heard, company, thresholds)[0])
        pieces = [{name: dict(data=o[i].ravel().tolist(), dims=[1, *o[i].shape]) for name, o in said.items()} for i in range(len(said['logits']))]
        cases.append([pieces, dict(width=size[0], height=size[1]), dict(labels=labels, thresholds=thresholds, company=company._asdict()), closer.tolist()])
    got = visit(url).evaluate("""async cases => {
        const {heard, told} = await import('./infer.js'), odd = box => (box[0]*7 + box[1]*3 + box[2]*11 + box[3]*5) % 101/40 - 1
        const one = async ([said, picture, card, closer]) => told(await heard(said, picture, card, box => ({whole: {data: closer.map(x => x*odd(box))}})), card)
        return Promise.all(cases.map(one))
    }""", cases)
    assert min(looks) > 20 and np.abs(np.array(got) - wanted).max() < 1e-9

def isolated(page):
    "A later visit: memory may be shared by threads."
    page.evaluate('() => navigator.serviceWorker.ready.then(() => true)')
    page.reload()
    expect(page.locator('body')).to_have_attribute('data-ready', 'true')
    assert page.evaluate('crossOriginIsolated')
    return page

def test_several_threads_say_the_same(url, visit, server):
    page, folder = visit(url), server.folder/'a b'/'bears'/'try'
    one = [a for a, _ in said(page, folder, room.MODEL, 'kernels.wasm')]
    isolated(page)
    for threads in (2, 3):
        for a, (b, _) in zip(one, said(page, folder, room.MODEL, 'kernels.wasm', threads)): assert (a == b).all()

def test_threads_do_every_job_once(url, visit):
    "However often they are woken."
    assert isolated(visit(url)).evaluate("""async () => {
        const {Kernels} = await import('./kernels.js'), kernels = await Kernels.load(await (await fetch('kernels-plain.wasm')).arrayBuffer(), 4)
        const [a, b, y] = [0, 1, 2].map(() => kernels.take(8*64)), view = o => kernels.view(Int8Array, o.at, 8*64)
        view(b).fill(1)
        for (let i = 0; i < 100_000; i++) {
            view(a).fill(i % 100)
            kernels.call('added', 64, a.at, b.at, 1, 1, -128, y.at)
            if (view(y).some(v => v !== i % 100 + 1)) return `job ${i}`
        }
        return [kernels.threads, Atomics.load(kernels.job.words, 1)]
    }""") == [4, 0]

def test_where_no_helper_starts_one_thread_does_all(built, visit):
    page = isolated(visit(built('alone', helper=("import {help}", "import {nothing as help}"))))
    assert len(page.workers) == 1
    shown, = give(page, ('teddy.jpg', TEDDY_JPEG))
    expect(shown.get_by_role('heading')).to_have_text('Teddy bear')

def test_a_browser_that_computes_otherwise_is_not_believed(built, browser):
    page = browser.new_page()
    page.goto(built('otherwise', **{'model.js': ('red[pixels[from++]]', 'red[255 - pixels[from++]]')}))
    expect(page.locator('#waiting')).to_contain_text('this browser computes other answers than it should')
    page.close()

def test_where_less_memory_can_be_shared(url, visit):
    "As on some phones."
    assert visit(url).evaluate("""async () => {
        const {Kernels} = await import('./kernels.js'), {Memory} = WebAssembly, code = await (await fetch('kernels-plain.wasm')).arrayBuffer()
        WebAssembly.Memory = function (o) {
            if (o.maximum > 8192) throw new RangeError('Out of memory')
            return new Memory(o)
        }
        const kernels = await Kernels.load(code, 1)
        return kernels.take(2**20).at > 0
    }""")

def test_kernels_for_browsers_of_all_ages(url, visit):
    assert visit(url).evaluate("""async () => {
        const {fitting} = await import('./kernels.js'), [fast, plain] = await Promise.all(['kernels.wasm', 'kernels-plain.wasm'].map(f => fetch(f).then(r => r.arrayBuffer())))
        return [fitting(fast, plain) === fast, fitting(new Uint8Array([0, 97, 115, 109, 2]).buffer, plain) === plain, WebAssembly.validate(plain)]
    }""") == [True, True, True]

def changed(model, folder, change):
    "A copy of the model file, changed."
    model = onnx.load(model)
    change(model.graph, {t.name: t for t in model.graph.initializer})
    onnx.save(model, folder/'odd.onnx')
    return folder/'odd.onnx'

def _of_weights(graph): return next(n for n in graph.node if n.op_type == 'DequantizeLinear' and n.input[0].endswith('blocks.1.0.conv_pw.weight_quantized'))

def zero_point(graph, tensors):
    t = tensors[_of_weights(graph).input[2]]
    t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(t) + np.int8(3), t.name))

def all_eight_bits(graph, tensors):
    t = tensors[_of_weights(graph).input[0]]
    w = onnx.numpy_helper.to_array(t).copy()
    w.flat[0] = 127
    t.CopyFrom(onnx.numpy_helper.from_array(w, t.name))

def made_by_a_node(graph, tensors):
    node = _of_weights(graph)
    graph.node.insert(0, onnx.helper.make_node('Identity', [node.input[0]], ['again']))
    node.input[0] = 'again'

def another_operator(graph, tensors):
    next(n for n in graph.node if n.op_type == 'Log').op_type = 'Neg'

def signed_bytes(graph, tensors): tensors['image_zero_point'].data_type = onnx.TensorProto.INT8

def another_bias(graph, tensors):
    node = next(n for n in graph.node if n.output[0].endswith('blocks.1.0.conv_pw.weight_bias'))
    tensors[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensors[node.input[1]])*np.float32(1.5), node.input[1]))

@pytest.mark.parametrize('change', [signed_bytes, another_bias])
def test_what_only_looks_like_our_bytes_is_none(change, tmp_path):
    classifier = Classifier() # onnxruntime itself may refuse the changed one
    classifier.file = changed(room.MODEL, tmp_path, change)
    assert for_browsers(classifier) is None

@pytest.mark.parametrize('change', [zero_point, all_eight_bits, made_by_a_node, another_operator])
def test_for_a_model_of_another_make_the_page_takes_onnxruntime(change, tmp_path, runtime):
    odd = changed(room.MODEL, tmp_path, change)
    assert for_browsers(Classifier(odd)) is None and for_browsers(Classifier())
    sizes = build_site(tmp_path/'public', odd, runtime)
    assert {'model.onnx.gz', 'runtime/ort.wasm.bundle.min.js'} <= {*sizes} and 'network.bin.gz' not in sizes
    assert (tmp_path/'public'/'model.js').read_bytes() == (room.WEB[1]/'onnx.js').read_bytes()

def test_the_kernels_are_made_of_their_source(tmp_path):
    "And have no data of their own, which threads would write over each other; a stack would be one."
    folder = room.WEB[1]
    before = {f.name: f.read_bytes() for f in folder.glob('*.wasm')}
    subprocess.run([Path(__file__).parent.parent/'.ci'/'kernels', tmp_path], check=True)
    assert len(before) == 2 and before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for content in before.values():
        at, sections = 8, {}
        while at < len(content):
            size, n = next(_whole_numbers(content[at + 1:at + 6]))
            sections[content[at]] = content[at + 1 + n:at + 1 + n + size]
            at += 1 + n + size
        assert 11 not in sections # data
        assert sections[6] == bytes([1, 0x7f, 1, 0x41, 0, 0x0b]) # one global: the stack begins at 0 and grows down

def test_maps_and_names_of_a_model(built, visit, tmp_path):
    names = dict(red='the colour of <b>fire</b>', top_left="where books' begin")
    model = tiny_model(tmp_path/'tiny.onnx', card(names=names, resize=[64, 64], size=[64, 64]), maps=True)
    im = Image.new('RGB', (64, 64), 'black')
    im.paste('red', (0, 0, 32, 32))
    page = visit(built('named', model))
    shown, = give(page, ('red.png', encoded(im, 'PNG')))
    found = Classifier(model).predict(encoded(im, 'PNG'))
    for label in found.labels:
        button = shown.get_by_role('button', name=f'Where: {names.get(label, label.replace("_", " "))}')
        button.click()
        expect(button).to_have_attribute('aria-pressed', 'true')
        alpha = shown.locator('canvas').evaluate('c => Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 4 === 3))')
        assert np.array(alpha).reshape(2, 2) == pytest.approx((1 - found.heatmap(label))*180, abs=1.01)
        button.click()
        expect(shown.locator('canvas')).to_have_count(0)

def test_another_kind_of_bear_is_found_and_was_not_looked_for(built, visit, tmp_path):
    labels = ['black_bear', 'grizzly', 'teddys', 'other_bear', 'bottom_left', 'other']
    model = tiny_model(tmp_path/'tiny.onnx', card(labels=labels, thresholds=dict.fromkeys(labels, .5)))
    page = visit(built('others', model))
    expect(page.locator('header')).to_contain_text('looks for black bear, grizzly, teddy bear and bottom left: one')
    corner, dark = Image.new('RGB', (72, 72), 'black'), Image.new('RGB', (72, 72), 'black')
    corner.paste('white', (36, 0, 72, 36))
    bear, none = give(page, ('corner.png', encoded(corner, 'PNG')), ('dark.png', encoded(dark, 'PNG')))
    expect(bear.get_by_role('heading')).to_have_text('Another kind of bear')
    expect(none).to_contain_text('The model looked for black bear, grizzly, teddy bear and bottom left, and is not sure enough of any.')

# Files of every kind

def test_heic_comes_with_a_decoder_of_its_own(url, visit, server):
    page = visit(url)
    server.asked.clear()
    give(page, ('teddy.jpg', TEDDY_JPEG))
    assert not any('heic/' in path for path in server.asked)
    shown, = give(page, ('IMG_1.HEIC', heic(TEDDY)))
    assert any('heic/' in path for path in server.asked)
    expect(shown.get_by_role('img')).to_be_visible()
    same(table(page)['IMG_1.HEIC'], Classifier().predict(heic(TEDDY)))

def bomb(width, height):
    "A PNG whose header claims a picture that no device can hold."
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')

HOSTILE = {
    'empty.jpg': (b'', 'This file is empty.'),
    'note.jpg': (b'Dear bear,', 'This file is not a picture in a format that can be read (JPEG, PNG, WebP, HEIC...).'),
    'page.svg': (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', 'This file is not a picture in a format that can be read (JPEG, PNG, WebP, HEIC...).'),
    'tenth.jpg': (TEDDY_JPEG[:len(TEDDY_JPEG)//10], 'This file is damaged or cut short.'),
    'half.png': (encoded(TEDDY, 'PNG')[:9000], 'This file is damaged or cut short.'),
    'half.heic': (heic(TEDDY)[:3000], 'This file is damaged or cut short.'),
    'head.jpg': (TEDDY_JPEG[:3], 'This file is damaged or cut short.'),
    'noise.webp': (b'RIFF\x00\x01\x00\x00WEBP' + bytes(300), 'This file is damaged or cut short.'),
    'bomb.png': (bomb(200_000, 200_000), f'This file has more than {MAX_PIXELS:,} pixels, the limit.'),
    'liar.png': (bomb(10_000, 10_000), 'This file is damaged or cut short.'),
    'scan.tif': (encoded(TEDDY, 'TIFF'), 'This browser can not open TIFF pictures. Save it as a JPEG and try that.'),
    'large.jpg': (TEDDY_JPEG + bytes(MAX_BYTES), f'This file is too large: a picture may have up to {MAX_BYTES//2**20} MB. Save it smaller and try that.'),
    '<img src=x onerror=alert(1)>.jpg': (b'GIF8', 'This file is damaged or cut short.')}

def test_a_bad_file_gets_one_sentence_and_the_others_go_on(url, visit, tmp_path):
    page = visit(url)
    for i, (name, (content, _)) in enumerate(HOSTILE.items()): (tmp_path/f'{i}').write_bytes(content) # too large to be sent as text
    page.set_input_files('#files', [tmp_path/f'{i}' for i in range(len(HOSTILE))] )
    expect(page.locator('.bc-card .bc-refused')).to_have_count(len(HOSTILE))
    for i, (name, (content, sentence)) in enumerate(HOSTILE.items()): expect(page.locator('.bc-card').nth(i).locator('.bc-refused')).to_have_text(sentence, use_inner_text=False)
    shown, bad = give(page, ('teddy.jpg', TEDDY_JPEG), ('=HYPERLINK("x").jpg', b'no, "picture"'))
    expect(shown.get_by_role('heading')).to_have_text('Teddy bear')
    expect(bad.get_by_role('img')).to_be_hidden()
    assert table(page)["'=HYPERLINK(\"x\").jpg"]['error'].startswith('This file is not a picture')

@pytest.mark.parametrize('name', ['tenth.jpg', 'half.png', 'head.jpg', 'noise.webp', 'liar.png'])
def test_what_the_page_refuses_python_refuses(name):
    with pytest.raises(PictureError): open_picture(HOSTILE[name][0])

def test_half_a_jpeg_is_answered_from_what_is_there_as_python_has_it(url, visit):
    page, half = visit(url), TEDDY_JPEG[:len(TEDDY_JPEG)//2]
    shown, = give(page, ('half.jpg', half))
    with pytest.raises(CutShort) as e: open_picture(half, at_least=DECODE_SIDE)
    assert '% of the picture is there' in e.value.note
    expect(shown).to_contain_text(e.value.note)
    expect(shown.get_by_role('heading')).to_be_visible()
    assert difference(table(page)['half.jpg'], Classifier().predict(e.value.rest)) < .03
    width, height = shown.get_by_role('img').evaluate('e => [e.naturalWidth, e.naturalHeight]')
    assert width > height # the grey where nothing was is left away

HANGS = """async function look(file) {
  if (file.name.startsWith('hang')) for (;;);
  if (file.name.startsWith('die')) {
    setTimeout(() => { throw new Error('out of memory') })
    return new Promise(() => {})
  }
"""

def test_a_file_that_hangs_or_breaks_the_worker_is_given_up(built, visit):
    page = visit(built('hanging', worker=('async function look(file) {', HANGS),
                       engine=('setTimeout(gaveUp, PATIENCE,', "setTimeout(gaveUp, file.name.startsWith('hang') ? 1 : PATIENCE,")))
    hung, teddy, died, robot = give(page, ('hang.jpg', TEDDY_JPEG), ('teddy.jpg', TEDDY_JPEG), ('die.jpg', TEDDY_JPEG), ('robot.jpg', ROBOT_JPEG))
    expect(hung.locator('.bc-refused')).to_contain_text('takes more than 60 seconds')
    expect(died.locator('.bc-refused')).to_contain_text('broke down over it')
    expect(teddy.get_by_role('heading')).to_have_text('Teddy bear')
    expect(robot.get_by_role('heading')).to_be_visible()

# Where pictures come from

def drop(page, *files, event='drop', **texts):
    page.evaluate(DROP, [[(n, base64.b64encode(c).decode()) for n, c in files], {k.replace('_', '/').replace('uri/', 'uri-').replace('text/uri/list', 'text/uri-list'): v for k, v in texts.items()}, event])

def test_dropped_pasted_and_dragged_from_another_page(url, visit):
    page, cards = visit(url), page_cards
    drop(page, ('dropped.jpg', TEDDY_JPEG), ('also.jpg', ROBOT_JPEG))
    expect(cards(page)).to_have_count(2)
    drop(page, ('pasted.png', encoded(TEDDY, 'PNG')), event='paste')
    expect(cards(page)).to_have_count(3)
    page.evaluate(DROP, [[], {'text/uri-list': 'data:image/jpeg;base64,' + base64.b64encode(TEDDY_JPEG).decode()}, 'drop'])
    expect(cards(page)).to_have_count(4)
    page.evaluate(DROP, [[], {'text/uri-list': 'https://example.com/bear.jpg'}, 'drop']) # nothing is fetched from there: `visit` looks
    expect(page.locator('#status')).to_contain_text('fetches nothing from elsewhere')
    expect(page.locator('.bc-card .bc-bars')).to_have_count(4)
    page.get_by_role('button', name='Remove all').click()
    drop(page, event='paste', text_plain='https://example.com/bear.jpg')
    expect(page.locator('#status')).to_contain_text('fetches nothing from elsewhere')

def page_cards(page): return page.locator('.bc-card')

def test_a_folder_gives_the_pictures_below_it(url, visit, tmp_path):
    (tmp_path/'trip'/'day 1').mkdir(parents=True)
    (tmp_path/'trip'/'b.jpg').write_bytes(TEDDY_JPEG)
    (tmp_path/'trip'/'day 1'/'a.jpg').write_bytes(ROBOT_JPEG)
    (tmp_path/'trip'/'notes.txt').write_text('bears')
    for aside in ('@eaDir/b.jpg', '.thumbs/b.jpg', '._b.jpg'): # of a network disk, of a viewer, of macOS
        (tmp_path/'trip'/aside).parent.mkdir(exist_ok=True)
        (tmp_path/'trip'/aside).write_bytes(TEDDY_JPEG)
    (tmp_path/'none').mkdir()
    (tmp_path/'none'/'.hidden.jpg').write_bytes(TEDDY_JPEG)
    page = visit(url)
    page.set_input_files('#folder', tmp_path/'none')
    expect(page.locator('.bc-app')).to_contain_text('There are no pictures in this folder.')
    page.set_input_files('#folder', tmp_path/'trip')
    expect(page.locator('.bc-card .bc-bars')).to_have_count(2)
    assert {*table(page)} == {'trip/b.jpg', 'trip/day 1/a.jpg'}

def test_a_drawn_example(url, visit):
    page = visit(url)
    for name, im in examples(Classifier().card).items():
        page.get_by_role('button', name=name, exact=True).click()
        expect(page.get_by_role('img', name=f'Your picture drawn {name}.jpg', exact=True)).to_be_visible()
    expect(page.locator('.bc-card .bc-bars')).to_have_count(len(examples(Classifier().card)))

def test_thumbnails_stand_before_the_answers(built, visit):
    page = visit(built('slow', worker=('async function look(file) {', 'async function look(file) { await new Promise(done => onmessageerror = done);')))
    page.set_input_files('#files', [dict(name=n, mimeType='image/jpeg', buffer=TEDDY_JPEG) for n in ('a.jpg', 'b.jpg')])
    for name in ('a.jpg', 'b.jpg'): expect(page.get_by_role('img', name=f'Your picture {name}')).to_be_visible()
    expect(page.get_by_text('Looking…')).to_have_count(2)

def test_pictures_may_come_before_the_model(built, visit):
    page = visit(built('early', worker=('async function start(settings) {', 'async function start(settings) { await new Promise(done => setTimeout(done, 1500));')), ready=False)
    give(page, ('teddy.jpg', TEDDY_JPEG))

# What is done with answers

def test_the_slider_moves_all_marks_and_answers(url, visit):
    page, prediction = visit(url), Classifier().predict(ROBOT_JPEG)
    shown, = give(page, ('robot.jpg', ROBOT_JPEG))
    slider = page.get_by_role('slider', name='How sure must it be?')
    for words, steps in SURENESS:
        slider.fill(str(steps))
        expect(slider).to_have_attribute('aria-valuetext', words)
        thresholds = moved(prediction.thresholds, steps)
        for k in ('black_bear', 'grizzly', 'teddys'):
            expect(shown.get_by_role('listitem').filter(has_text=spoken(k))).to_contain_text(f'counts from {thresholds[k]*100:.0f}%')
    expect(page.locator('#status')).to_have_text('Something is found in 0 of 1 picture.')

def test_one_removed_all_removed_and_back(url, visit):
    page = visit(url)
    give(page, ('a.jpg', TEDDY_JPEG), ('b.jpg', ROBOT_JPEG), ('c.jpg', TEDDY_JPEG))
    names = page.locator('.bc-name')
    page.get_by_role('button', name='Remove b.jpg').click()
    expect(names).to_have_text(['a.jpg', 'c.jpg'])
    undo = page.get_by_role('button', name='Undo')
    expect(page.get_by_role('button', name='Remove c.jpg')).to_be_focused() # what is now in its place
    undo.click()
    expect(names).to_have_text(['a.jpg', 'b.jpg', 'c.jpg'])
    expect(page.get_by_role('button', name='Remove b.jpg')).to_be_focused()
    page.get_by_role('button', name='Remove all').click()
    expect(names).to_have_count(0)
    expect(page.locator('#status')).to_have_text('3 pictures are removed.')
    expect(undo).to_be_focused()
    page.keyboard.press('Control+z')
    expect(names).to_have_text(['a.jpg', 'b.jpg', 'c.jpg'])
    expect(page.locator('.bc-bars')).to_have_count(3)
    expect(undo).to_be_hidden()

@pytest.mark.parametrize('width', [1280, 320])
def test_one_keeps_ones_place_in_a_long_list(url, visit, width):
    page = visit(url, viewport=dict(width=width, height=700))
    give(page, *((f'{i}.jpg', TEDDY_JPEG) for i in range(24)))
    one, next_one = (page.get_by_role('button', name=f'Remove {i}.jpg') for i in (12, 13))
    one.click() # far down
    for there in (next_one, page.get_by_role('button', name='Undo')): expect(there).to_be_in_viewport()
    expect(next_one).to_be_focused()
    page.keyboard.press('Control+z')
    expect(one).to_be_focused()
    expect(one).to_be_in_viewport()

# Privacy, offline, and what a person sees

@pytest.fixture
def stranger():
    "Another server, and who asked it for something."
    server = http.server.ThreadingHTTPServer(('localhost', 0), Handler)
    server.asked, server.down, server.origin = [], True, f'http://localhost:{server.server_port}/'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()

ELSEWHERE = """async where => {
    const refused = new Promise(done => addEventListener('securitypolicyviolation', e => { e.blockedURI.startsWith('http') && done(e.effectiveDirective) }))
    try { await eval(`(${HOW})`)(where) } catch {}
    return refused
}"""

@pytest.mark.parametrize('how', [
    'where => fetch(where)', 'where => navigator.sendBeacon(where, "x")', 'where => import(where)', 'where => new EventSource(where)',
    'where => { new Image().src = where }', 'where => { document.body.append(Object.assign(document.createElement("iframe"), {src: where})) }',
    'where => { document.body.append(Object.assign(document.createElement("script"), {src: where})) }',
    'where => { document.head.append(Object.assign(document.createElement("link"), {rel: "stylesheet", href: where})) }',
    'where => { const f = Object.assign(document.createElement("form"), {action: where}); document.body.append(f); f.submit() }'])
def test_the_browser_itself_forbids_what_goes_elsewhere(browser, url, stranger, how):
    page = browser.new_page()
    page.goto(url)
    assert page.evaluate(ELSEWHERE.replace('eval(`(${HOW})`)', f'({how})'), stranger.origin + 'x')
    assert stranger.asked == []
    page.close()

def test_the_worker_stands_under_the_same_policy(built, visit, browser, stranger):
    url = built('spying', worker=('async function look(file) {', f"async function look(file) {{\n  await fetch('{stranger.origin}x')"))
    page = browser.new_page()
    for _ in range(2): # the first visit, and one through the service worker
        page.goto(url)
        expect(page.locator('body')).to_have_attribute('data-ready', 'true')
        spied, = give(page, ('teddy.jpg', TEDDY_JPEG))
        expect(spied.locator('.bc-refused')).to_contain_text('Failed to fetch')
        page.evaluate('() => navigator.serviceWorker.ready.then(() => true)')
    assert stranger.asked == []
    page.close()

def test_offline_after_the_first_visit(url, visit, server, monkeypatch):
    page = visit(url)
    page.evaluate('() => navigator.serviceWorker.ready.then(() => true)')
    monkeypatch.setattr(server, 'down', True)
    page.reload()
    expect(page.locator('body')).to_have_attribute('data-ready', 'true')
    shown, = give(page, ('teddy.jpg', TEDDY_JPEG))
    expect(shown.get_by_role('heading')).to_have_text('Teddy bear')
    page.get_by_role('button', name='grizzly', exact=True).click()
    expect(page.locator('.bc-card .bc-bars')).to_have_count(2)
    policy = page.evaluate('() => fetch("worker.js").then(r => r.headers.get("content-security-policy"))')
    assert policy == room.POLICY # now the worker's own requests stand under it too
    threads = min(4, page.evaluate('() => crossOriginIsolated ? navigator.hardwareConcurrency : 0'))
    assert len(page.workers) == threads # the one that answers, and those that help it
    page.goto(f'{url}index.html')
    expect(page.locator('body')).to_have_attribute('data-ready', 'true')

def test_a_new_build_takes_the_place_of_the_old(built, visit, server, runtime):
    url = built('renewed')
    page = visit(url)
    page.evaluate('() => navigator.serviceWorker.ready.then(() => true)')
    folder = server.folder/'a b'/'renewed'/'try'
    for text in ('one', 'two'): # a page of somebody else's below it is none of its own
        (folder/'news.txt').write_text(text)
        assert page.evaluate('() => fetch("news.txt", {cache: "no-store"}).then(r => r.text())') == text
    (folder/'index.html').write_text((folder/'index.html').read_text().replace('Which bears', 'Which fine bears'))
    (folder/'files.js').write_text((folder/'files.js').read_text().replace('VERSION = "', 'VERSION = "x'))
    page.evaluate(UPDATED)
    page.reload()
    expect(page.get_by_role('heading', level=1)).to_have_text('Which fine bears are in your picture?')
    (folder/'files.js').write_text((folder/'files.js').read_text().replace('VERSION = "', 'VERSION = "x'))
    page.evaluate(UPDATED)
    assert [name[-14:-12] for name in page.evaluate('() => caches.keys()')] == [' x', 'xx'] # of all before only the last

UPDATED = """() => navigator.serviceWorker.getRegistration().then(r => new Promise(done => {
    r.onupdatefound = () => { const w = r.installing; w.onstatechange = () => w.state === 'activated' && done() }
    r.update() }))"""

@pytest.mark.parametrize('models', [(None, tiny_model), (tiny_model, None)], ids=['by one of another model', 'by one of ours'])
def test_a_site_is_replaced_while_its_page_is_open(models, built, visit, server, runtime, tmp_path):
    "The page goes on with its own files, also where all begins anew; the next visit has the new ones."
    old, new = (m and m(tmp_path/'tiny.onnx', card(names=dict(red='RED'))) for m in models)
    page = visit(built(f'replaced {bool(old)}', old))
    page.evaluate('() => navigator.serviceWorker.ready.then(() => true)')
    build_site(server.folder/'a b'/f'replaced {bool(old)}'/'try', new, runtime)
    page.evaluate(UPDATED)
    give(page, ('teddy.jpg', TEDDY_JPEG), ('large.png', encoded(Image.new('L', (9000, 8000)), 'PNG')), ('robot.jpg', ROBOT_JPEG))
    expect(page.locator('.bc-card .bc-bars')).to_have_count(3)
    page.reload()
    expect(page.locator('body')).to_have_attribute('data-ready', 'true')
    expect(page.locator('header')).to_contain_text('RED' if new else 'grizzly')
    give(page, ('teddy.jpg', TEDDY_JPEG))
    assert len(page.evaluate('() => caches.keys()')) == 2 # this version's, and the one's before

def test_memory_is_given_back_after_a_large_picture(built, visit):
    page = visit(built('memory', worker=("seconds: (performance.now() - begun)/1000})", "seconds: kernels.memory.buffer.byteLength/2**20})")))
    small, large, again = give(page, ('teddy.jpg', TEDDY_JPEG), ('large.png', encoded(Image.new('L', (9000, 8000)), 'PNG')), ('teddy.jpg', TEDDY_JPEG))
    before, most, after = (float(c.get_attribute('data-seconds')) for c in (small, large, again))
    assert before < 100 < 270 < most and after == pytest.approx(before, abs=2)

def test_a_picture_too_large_for_this_browsers_memory_gets_a_sentence(built, visit):
    page = visit(built('little', kernels=('maximum = 32768', 'maximum = 4096')))
    large, small = give(page, ('large.png', encoded(Image.new('L', (9000, 8000)), 'PNG')), ('teddy.jpg', TEDDY_JPEG))
    expect(large.locator('.bc-refused')).to_have_text('This picture is too large for the memory of this browser. Save it smaller and try that.')
    expect(small.get_by_role('heading')).to_have_text('Teddy bear')

def test_it_can_be_installed(url, visit, server):
    page = visit(url)
    manifest = page.evaluate('() => fetch(document.querySelector("link[rel=manifest]").href).then(r => r.json())')
    assert manifest['name'] == 'Which bears are in your picture?' and manifest['display'] == 'standalone'
    for i in manifest['icons']:
        size = Image.open(server.folder/'a b'/'bears'/'try'/i['src']).size
        assert i['sizes'] == f'{size[0]}x{size[1]}'

@pytest.mark.parametrize('touch, widths', [(True, (320, 390)), (False, (768, 1280))])
def test_nothing_is_wider_than_the_screen(url, visit, touch, widths):
    page = visit(url, viewport=dict(width=widths[0], height=800), has_touch=touch, is_mobile=touch)
    give(page, ('a_very_long_name_without_a_place_to_break_it_' + 'x'*80 + '.jpg', TEDDY_JPEG), ('robot.jpg', ROBOT_JPEG), ('bad.jpg', b'x'))
    for width in widths:
        page.set_viewport_size(dict(width=width, height=800))
        assert page.evaluate('() => document.documentElement.scrollWidth') <= width
        expect(page.get_by_role('button', name='Take a photograph')).to_be_visible(visible=touch)
        small = page.evaluate('() => [...document.querySelectorAll("button")].filter(b => b.checkVisibility() && b.getBoundingClientRect().height < 44).length')
        assert not small

def test_light_and_dark(url, visit):
    page = visit(url)
    for scheme, colour in dict(light='rgb(243, 245, 248)', dark='rgb(20, 24, 31)').items():
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate('() => getComputedStyle(document.body).backgroundColor') == colour

def test_forced_colours_and_print(url, visit):
    page = visit(url, forced_colors='active')
    give(page, ('teddy.jpg', TEDDY_JPEG))
    assert page.locator('.bc-found .bc-bar b').evaluate('b => getComputedStyle(b).backgroundColor') != page.locator('.bc-card').evaluate('c => getComputedStyle(c).backgroundColor')
    page.emulate_media(media='print')
    expect(page.get_by_role('button')).to_have_count(0)
    expect(page.get_by_role('img', name='Your picture teddy.jpg')).to_be_visible()
    expect(page.locator('.bc-bars')).to_be_visible()

def test_by_keyboard_and_for_a_screen_reader(url, visit):
    page = visit(url)
    page.on('filechooser', lambda _: None) # the browser is told of it now, and not when the key is down
    page.keyboard.press('Tab')
    expect(page.get_by_role('button', name='Choose pictures')).to_be_focused()
    with page.expect_file_chooser() as chooser: page.keyboard.press('Enter')
    chooser.value.set_files([dict(name='teddy.jpg', mimeType='image/jpeg', buffer=TEDDY_JPEG)])
    expect(page.locator('#status')).to_have_text('teddy.jpg: Teddy bear.')
    expect(page.get_by_role('list', name='Answers').get_by_role('heading', level=3)).to_have_text('Teddy bear')
    line = page.locator('.bc-bars').get_by_role('listitem').filter(has_text='teddy bear')
    p = Classifier().predict(TEDDY_JPEG)
    expect(line).to_contain_text(re.compile(f'teddy bear[0-9]+%, counts from {p.thresholds["teddys"]*100:.0f}%, found'))

def test_without_a_network_the_page_says_so_and_tries_again(built, browser, server):
    url = built('broken')
    model = server.folder/'a b'/'broken'/'try'/'network.bin.gz'
    model.rename(model.with_suffix('.away'))
    page = browser.new_page()
    page.goto(url)
    expect(page.locator('#waiting')).to_contain_text('The model can not be made ready (network.bin.gz is missing (404))')
    expect(page.get_by_role('alert')).to_contain_text('can not be made ready')
    page.get_by_role('button', name='Try again').press('Enter')
    expect(page.locator('#waiting')).to_contain_text('(404)')
    expect(page.get_by_role('button', name='Try again')).to_be_focused()
    model.with_suffix('.away').rename(model)
    page.keyboard.press('Enter')
    expect(page.locator('body')).to_have_attribute('data-ready', 'true')
    page.close()

# Building

def test_the_command(runtime, tmp_path, capsys):
    assert site(SimpleNamespace(out=str(tmp_path/'public'), model=None, runtime=runtime)) == 0
    said = capsys.readouterr().out
    assert 'a first visit loads' in said and 'HEIC' not in said
    first = sum(f.stat().st_size for f in (tmp_path/'public').rglob('*') if f.is_file() and f.parent.name != 'heic')
    assert first - (tmp_path/'public'/'network.bin.gz').stat().st_size < 1e6 # all but the model
    assert not [f for f in tmp_path.iterdir() if f.name != 'public']

NPM = dict(none=('there is no npm', None), fails=('npm did not get it', 'exit 1'))

@pytest.mark.parametrize('why, script', NPM.values(), ids=NPM)
def test_without_npm_or_a_network(why, script, tmp_path, monkeypatch, capsys):
    "HEIC does without its decoder; a model that needs onnxruntime-web does not."
    monkeypatch.setenv('PATH', str(tmp_path))
    if script:
        (tmp_path/'npm').write_text(f'#!/bin/sh\n{script}\n')
        (tmp_path/'npm').chmod(0o755)
    with pytest.raises(BearclfError, match=f'onnxruntime-web, which the page needs, can not be had .{why}.*--runtime'):
        build_site(tmp_path/'public', tiny_model(tmp_path/'tiny.onnx'))
    assert {f.name for f in tmp_path.iterdir()} == {'tiny.onnx', *(['npm'] if script else [])}
    assert site(SimpleNamespace(out=str(tmp_path/'public'), model=None, runtime=None)) == 0
    assert 'HEIC pictures open only where the browser can (Safari): their decoder, libheif-js, could not be had.' in capsys.readouterr().out

@pytest.mark.parametrize('model', [tiny_model, None])
def test_an_archive_that_is_not_the_pinned_one(model, tmp_path, monkeypatch):
    (tmp_path/'npm').write_text('#!/bin/sh\n: > package.tgz\n')
    (tmp_path/'npm').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(BearclfError, match='is not what was pinned'): build_site(tmp_path/'public', model and model(tmp_path/'tiny.onnx'))
    assert not (tmp_path/'public').exists()

@pytest.mark.parametrize('name, package, model', [('ort.wasm.bundle.min.mjs', 'onnxruntime-web', tiny_model), ('libheif-bundle.mjs', 'libheif-js', None)])
def test_a_runtime_that_was_changed(name, package, model, runtime, tmp_path):
    shutil.copytree(runtime, tmp_path/'runtime')
    next((tmp_path/'runtime').rglob(name)).write_bytes(b'alert(1)')
    with pytest.raises(BearclfError, match=f'{name} in .* is not that of {package}'):
        build_site(tmp_path/'public', model and model(tmp_path/'tiny.onnx'), tmp_path/'runtime')
    assert not (tmp_path/'public').exists()

def test_places_where_no_site_can_be(tmp_path):
    (tmp_path/'file').write_text('x')
    (tmp_path/'thesis').mkdir()
    (tmp_path/'thesis'/'chapter1.txt').write_text('x')
    for out, why in ((tmp_path/'file', 'is a file'), (tmp_path/'thesis', 'is no site of bearclf'), (tmp_path/'no'/'public', 'There is no folder')):
        with pytest.raises(BearclfError, match=why): build_site(out)
    assert (tmp_path/'thesis'/'chapter1.txt').read_text() == 'x'

def test_a_model_that_is_none(tmp_path):
    (tmp_path/'cat.onnx').write_bytes(b'cat')
    with pytest.raises(BearclfError, match='is not an ONNX model'): build_site(tmp_path/'public', tmp_path/'cat.onnx')
    assert not (tmp_path/'public').exists()
