"What several of the tests need."
import hashlib, io, json, math, multiprocessing, os, random, shutil, signal, socket, struct, subprocess, sys, time, zlib
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil, pytest
from PIL import Image

from bearclf import drawn
from bearclf.manifest import follow_moves, read_manifest
from bearclf.pictures import picture_files

RED, ODD = (200, 30, 40), 'Bären im Wald 熊 🐻'

def red(mode='RGB', size=(40, 30)): return Image.new('RGB', size, RED).convert(mode)

def encoded(im, format='JPEG', **kwargs):
    "The bytes of a file."
    f = io.BytesIO()
    im.save(f, format, **kwargs)
    return f.getvalue()

def png(width, height, data=b'', depth=1, color=0, extra=b''):
    "A PNG with this header, whatever its `data`."
    def chunk(kind, body): return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)) + extra
            + chunk(b'IDAT', zlib.compress(data)) + chunk(b'IEND', b''))

def photo(seed=0, size=(160, 120)): return drawn.draw(['grizzly'], random.Random(seed)).resize(size)

def one_sentence(e, name=None):
    "The message is one line which ends as a sentence does, and names the file."
    text = str(e.value)
    assert '\n' not in text and text.endswith('.') and (name is None or name in text), text
    return text

HOSTILE = '<img src=x onerror=alert(1)> "$x^2$" & \'.jpg'

def contents(*folders):
    "How often each content lies in `folders`."
    return Counter(hashlib.sha256(f.read_bytes()).hexdigest() for d in folders for f in d.rglob('*') if f.is_file() and not f.name.startswith(('.', 'labels.csv', 'manifest')))

def beside(root): return root.with_name(root.name + '_set_aside')

def tree(root):
    "What lies in a set and beside it, and what is said of it."
    rows = [sorted((d/'labels.csv').read_text().splitlines()) if (d/'labels.csv').exists() else [] for d in (root, beside(root))]
    return [str(f.relative_to(root.parent)) for d in (root, beside(root)) if d.exists() for f in picture_files(d)], rows, [*follow_moves(read_manifest(root))]

def kill_at(moment, work):
    "Do `work` in a process which SIGKILL ends at its `moment`th write to the disk, before or after; was it killed?"
    def child():
        left = iter(range(moment - 1, -1, -1))
        def tick(): next(left) or os.kill(os.getpid(), signal.SIGKILL)
        def deadly(f):
            def g(*args, **kwargs):
                tick()
                res = f(*args, **kwargs)
                tick()
                return res
            return g
        for name in ('replace', 'fsync', 'open', 'unlink', 'mkdir'): setattr(os, name, deadly(getattr(os, name)))
        work()
    p = multiprocessing.get_context('fork').Process(target=child)
    p.start()
    p.join()
    assert p.exitcode in (0, -signal.SIGKILL)
    return p.exitcode != 0

def in_copies_of(root):
    "Fresh copies of the set, without end."
    was = root.with_name('was')
    shutil.copytree(root, was)
    while True:
        for d in (root, beside(root)): shutil.rmtree(d, ignore_errors=True)
        yield shutil.copytree(was, root)

def nothing_lost(root, was):
    now = contents(root, *([beside(root)] if beside(root).exists() else []))
    empty = hashlib.sha256(b'').hexdigest()  # a name that `move_file` had taken
    assert now - Counter({empty: 1}) == was and now[empty] <= 1
    assert [json.loads(line)['file'] for line in (root/'manifest.jsonl').read_text().splitlines()]

def killed_at_every_moment(root, work):
    was, copies = contents(root), in_copies_of(root)
    next(copies)
    work(root)
    want, moment = tree(root), 0
    while True:
        next(copies)
        moment += 1
        killed = kill_at(moment, lambda: work(root))
        nothing_lost(root, was)
        work(root)
        assert tree(root) == want and contents(root, beside(root)) == was, f'killed at {moment}'
        if not killed: break
    assert moment > 20

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)

FLAGS = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()

@contextmanager
def chromium():
    "Debian's browser. A test is skipped where it is not installed, but not in CI."
    if not (CHROMIUM or os.environ.get('CI')): pytest.skip('chromium is not installed (apt-get install chromium)')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()

def keep_screenshots(request, pages):
    "What the open pages show, in `failures`, for one who looks into a failed test."
    folder = Path(__file__).with_name('failures')
    folder.mkdir(exist_ok=True)
    for i, page in enumerate(pages): page.screenshot(path=folder/f'{request.node.name}-{i}.png')

PATIENCE = 300 # seconds for what is sure to come, however slow the machine is
PAGE_PATIENCE = 120_000 # milliseconds for what a page is to show: less, since where a page is broken many tests wait

def eventually(true):
    "Wait until `true()`."
    deadline = time.time() + PATIENCE
    while not true():
        assert time.time() < deadline
        time.sleep(.05)

def moved(thresholds, steps):
    "Thresholds as the pages' slider moves them: each by the same step in log-odds; one of exactly 0 or 1 stays."
    return {k: 1/(1 + math.exp(-steps)*(1 - t)/t) if steps and 0 < t < 1 else t for k, t in thresholds.items()}

def ended(process):
    """What a process has printed, once it has ended. Where it doesn't end the test fails, and says where all its threads
    stand if the process has PYTHONFAULTHANDLER in its environment, and which processes it has."""
    try: return ''.join(process.communicate(timeout=PATIENCE))
    except subprocess.TimeoutExpired: pass
    process.send_signal(signal.SIGABRT)
    alive = psutil.Process(process.pid).children(recursive=True)
    lines = [f'{p.pid} {p.status()} {" ".join(p.cmdline())[:150]}' for p in alive]
    for p in alive: p.kill()
    raise AssertionError('\n'.join(['It did not end.', *process.communicate(), *lines]))

COMMAND = str(Path(sys.executable).with_name('bearclf'))

def free_port():
    with socket.socket() as s:
        s.bind(('localhost', 0))
        return s.getsockname()[1]

class App:
    "A running `bearclf app`."
    elsewhere = () # addresses of other servers that it asks for something
    def __init__(self, *args, command=(COMMAND,), begin=lambda: None, **env):
        self.port = free_port()
        def first():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            begin()
        self.process = subprocess.Popen([*command, 'app', '--no-browser', '--port', str(self.port), *map(str, args)], env=os.environ | dict(PYTHONFAULTHANDLER='1') | env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=first)
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
        said = ended(self.process)
        _, left = psutil.wait_procs(all_, timeout=PATIENCE)
        return self.process.returncode, said, left

# drop or paste files and texts onto a page
DROP = '''([files, texts, event]) => {
    const transfer = new DataTransfer()
    for (const [name, content] of files) transfer.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name))
    for (const kind in texts) transfer.setData(kind, texts[kind])
    document.dispatchEvent(event === 'paste' ? new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true})
                                             : new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}))
}'''
