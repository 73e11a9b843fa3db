"""Five, then twenty people open the page at the same time and upload a picture: what does each get, when, and what memory does it take?

    python benchmarks/app.py

Everything runs on this machine, the twenty visitors' browsers (Debian's chromium) too, so times are those of a server that is short of processor.
Memory is proportional (PSS: what processes share is counted once). Writes benchmarks/results/app.json."""
import argparse, asyncio, io, json, os, random, shlex, signal, socket, statistics, subprocess, sys, time
from collections import Counter
from pathlib import Path

import psutil
from jupyter_client.manager import start_new_kernel
from playwright.async_api import Error as PlaywrightError, async_playwright

from bearclf.reader import Reader, WHERE
from bearclf.drawn import draw

FLAGS = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()

def picture(labels, seed, size=2000):
    f = io.BytesIO()
    draw(labels, random.Random(seed), size=size).save(f, 'JPEG')
    return f.getvalue()

def mb(*processes): return round(sum(p.memory_full_info().pss for p in processes)/2**20)
def tree(pid): return [p := psutil.Process(pid), *p.children(recursive=True)]
def kernels(pid): return [p for p in psutil.Process(pid).children() if 'ipykernel_launcher' in p.cmdline()]
def spread(values): return dict(median=round(statistics.median(values), 2), p95=round(sorted(values)[int(.95*(len(values) - 1) + .5)], 2), max=round(max(values), 2))

PATIENCE = 60_000 # milliseconds that a visitor waits for the page, or for the sentence that all places are taken

async def visit(browser, url, upload, go, uploaded):
    "One visitor: what came, and seconds to first paint, to a page that can be used, and from the upload to its answer."
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(PATIENCE)
    await go.wait()
    start = time.perf_counter()
    try:
        await page.goto(url, wait_until='commit')
        await page.wait_for_selector('body[data-ready=true], #loading a[href*=try]')
    except PlaywrightError: return dict(came='neither')
    res = dict(ready=time.perf_counter() - start, paint=await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime/1000"))
    if await page.query_selector('#loading a[href*=try]'): return res | dict(came='all places are taken')
    async with page.expect_file_chooser() as chooser: await page.click('.bc-choose')
    start = time.perf_counter()
    await (await chooser.value).set_files([dict(name='picture.jpg', mimeType='image/jpeg', buffer=upload)])
    try: await page.wait_for_selector('.bc-card .bc-bars')
    except PlaywrightError: return res | dict(came='page without an answer')
    uploaded.append(page)
    return res | dict(came='page', answer=time.perf_counter() - start)

async def crowd(url, n, pid):
    "`n` visitors at once."
    async with async_playwright() as p:
        browser = await p.chromium.launch(executable_path='/usr/bin/chromium', args=FLAGS)
        go, uploaded = asyncio.Event(), []
        visits = [asyncio.create_task(visit(browser, url, picture(('teddys',), i), go, uploaded)) for i in range(n)]
        await asyncio.sleep(1 + n/4)
        go.set()
        each_got = await asyncio.gather(*visits)
        def seconds(what): return spread([o[what] for o in each_got if what in o])
        await asyncio.sleep(3)
        each = [mb(k) for k in kernels(pid)]
        res = dict(visitors=n, came=Counter(o['came'] for o in each_got), seconds_to_first_paint=seconds('paint'),
                   seconds_to_ready=seconds('ready'), seconds_to_answer=seconds('answer'),
                   mb_per_visitor=statistics.median(each), mb_in_all=mb(*tree(pid)), kernels=len(each))
        for page in uploaded: await page.close(run_before_unload=True)
        await asyncio.sleep(10)
        res['kernels_after_all_have_left'] = len(kernels(pid))
        await browser.close()
    return res

def executed(client, code):
    reply = client.execute(code, reply=True, timeout=300)['content']
    if reply['status'] != 'ok': raise SystemExit('\n'.join(reply['traceback']))

def per_visitor(code, **env):
    "Memory of a visitor's process that has run `code`."
    manager, client = start_new_kernel(env=os.environ | env, stderr=subprocess.DEVNULL)
    executed(client, code)
    res = mb(psutil.Process(manager.provisioner.pid))
    manager.shutdown_kernel(now=True)
    return res

BEFORE = '''from bearclf.app import Page
from bearclf.inference import Classifier
from bearclf.drawn import draw
import random
class Own: # what a page without a reader does
    def __init__(self): self.classifier = Classifier()
own = Own()
own.classifier.predict(draw(('teddys',), random.Random(4)))
page = Page()'''

def many_uploads(reader, n):
    "Memory of a page's process and of the reader's over `n` uploads in a row, pictures and bad files."
    manager, client = start_new_kernel(env=os.environ | {WHERE: reader.where}, stderr=subprocess.DEVNULL)
    executed(client, 'from bearclf.app import Page\nfrom bearclf.drawn import draw\nimport io, random\npage = Page()\nfiles = []\n'
                     'for i in range(19):\n    f = io.BytesIO()\n    draw(("teddys",), random.Random(i)).save(f, "JPEG")\n    files.append((f"{i}.jpg", f.getvalue(), ""))\n'
                     'files.append(("note.txt", b"no picture", ""))')
    rows, start = [], time.perf_counter()
    for done in range(0, n + 1, n//10):
        if done:
            for _ in range(n//200): executed(client, 'for name, content, _ in files: page.take(dict(id=0, at=0, size=len(content)), content).result()')
        rows.append(dict(uploads=done, mb_page=mb(psutil.Process(manager.provisioner.pid)), mb_reader=mb(*tree(reader._process.pid))))
    seconds = round(time.perf_counter() - start)
    manager.shutdown_kernel(now=True)
    return dict(seconds=seconds, rows=rows)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--visitors', type=int, default=20)
    parser.add_argument('--uploads', type=int, default=2_000)
    args = parser.parse_args()
    if args.uploads < 200 or args.uploads % 200: parser.error('--uploads goes by 200: twenty files, ten rows.')
    with socket.socket() as s:
        s.bind(('localhost', 0))
        port = s.getsockname()[1]
    app = subprocess.Popen(['bearclf', 'app', '--no-browser', '--port', str(port)], stdout=subprocess.PIPE,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    res = dict(command=shlex.join(['python', *sys.argv]), cores=os.cpu_count(), load_at_start=os.getloadavg()[0])
    try:
        app.stdout.readline()
        time.sleep(10) # the kernels that wait are ready
        res['mb_before_anybody_comes'] = mb(*tree(app.pid))
        for name, n in dict(one=1, five=5, crowd=args.visitors).items():
            res[name] = asyncio.run(crowd(f'http://localhost:{port}/', n, app.pid))
    finally:
        app.send_signal(signal.SIGINT)
        app.wait()
    with Reader() as reader:
        where = {WHERE: reader.where}
        res['mb_of_a_visitor'] = dict(model_in_each=per_visitor(BEFORE, **where), shared_reader=per_visitor('from bearclf.app import Page\npage = Page()', **where))
        res['many_uploads'] = many_uploads(reader, args.uploads)
    out = Path(__file__).with_name('results')/'app.json'
    out.write_text(json.dumps(res, indent=1) + '\n')
    print(out.read_text())

if __name__ == '__main__': main()
