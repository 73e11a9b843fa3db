"""Does the page without a server answer as Python does, and how soon?

    python benchmarks/site.py --photos ../shared/photos

Builds the site with npm, serves its folder and opens it in Debian's chromium. Compares its answers with Classifier's on photographs as they are, on the
same ones enlarged to 12 megapixels (where Python decodes a JPEG smaller), on drawn pictures, and on drawn ones in other formats and shapes. Times of both
sides are for the same files in the same run, one picture after the other; those of a first visit, which has one thread, stand under `one_thread`. Weight is what the server sent:
the model as `bearclf site` packs it (gzip), all other files as they are. Writes benchmarks/results/site.json."""
import argparse, csv, functools, http.server, io, json, os, random, shlex, shutil, statistics, sys, tempfile, threading, time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from bearclf.drawn import draw
from bearclf.inference import Classifier
from bearclf.pictures import iter_pictures
from bearclf.site import build_site

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
FLAGS = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()

class Handler(http.server.SimpleHTTPRequestHandler):
    sent = {} # path -> bytes
    def log_message(self, *_): pass
    def copyfile(self, source, out):
        content = source.read()
        self.sent[self.path] = self.sent.get(self.path, 0) + len(content)
        out.write(content)

def serve(folder):
    server = http.server.ThreadingHTTPServer(('localhost', 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://localhost:{server.server_port}/'

WATCH = """new MutationObserver(() => { if (document.body?.dataset.ready) window.readyAt ??= performance.now() })
    .observe(document, {subtree: true, attributes: true, childList: true})"""

def opened(page, url):
    "Seconds to the first paint and until the page can answer, by its own clock."
    page.add_init_script(WATCH)
    page.goto(url)
    page.wait_for_selector('body[data-ready]', timeout=120_000)
    return page.evaluate("[performance.getEntriesByName('first-contentful-paint')[0].startTime/1000, readyAt/1000]")

def answers(page, files):
    "What the page says of `files`: name -> its line of the table, and the seconds that each took."
    page.set_input_files('#files', files)
    page.locator('.bc-card .bc-bars, .bc-card .bc-refused').nth(len(files) - 1).wait_for(timeout=600_000)
    with page.expect_download() as download: page.click('#csv')
    rows = {r['file']: r for r in csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding='utf-8-sig')))}
    seconds = [float(s) for s in page.locator('.bc-card').evaluate_all('cards => cards.map(c => c.dataset.seconds)') if s]
    page.click('#clear')
    return rows, seconds[::-1]

def compared(page, classifier, files):
    "How the answers for `files` differ, and both sides' seconds."
    rows, seconds = answers(page, files)
    differences, other, python = [], [], []
    for f in files:
        start = time.perf_counter()
        p = classifier.predict(f)
        python.append(time.perf_counter() - start)
        row = rows[Path(f).name]
        differences.append(max(abs(float(row[k]) - p.probs[k]) for k in classifier.labels))
        if row['labels'] != ';'.join(p.labels): other.append(dict(file=Path(f).name, python={k: round(v, 3) for k, v in p.probs.items()},
                                                                  page={k: round(float(row[k]), 3) for k in classifier.labels}))
    return dict(pictures=len(files), same_labels=round(1 - len(other)/len(files), 4), largest_difference=round(max(differences), 4),
                median_difference=round(statistics.median(differences), 5), above_3_percent=sum(d > .03 for d in differences), differ=other,
                seconds_page=round(statistics.median(seconds), 3), seconds_python=round(statistics.median(python), 3),
                times_python=round(statistics.median(a/b for a, b in zip(seconds, python)), 2))

def photographs(folder, n, links):
    "A sample over all folders, under names of their own: the page's table has no more than a name."
    files = sorted(iter_pictures(folder))
    for i, f in enumerate(random.Random(0).sample(files, min(n, len(files)))):
        (links/f'{i}-{f.parent.name}-{f.name}').symlink_to(f.resolve())
    return sorted(links.iterdir())

def enlarged(files, folder):
    "As large as a phone's: 12 megapixels, JPEG with halved colours."
    for f in files:
        im = Image.open(f).convert('RGB')
        scale = (12e6/(im.width*im.height))**.5
        im.resize((round(im.width*scale), round(im.height*scale)), Image.LANCZOS).save(folder/(f.stem + '.jpg'), quality=88)
    return sorted(folder.iterdir())

def drawings(folder):
    "Of every kind, in shapes that Python looks at in parts, and in several formats."
    for i in range(60):
        im = draw((('black_bear',), ('grizzly',), ('teddys',), ('black_bear', 'teddys'), ())[i % 5], random.Random(i), size=random.Random(i).choice((200, 320, 900, 1500)))
        if i % 6 == 1: im = im.resize((im.width*3, im.height))
        if i % 6 == 2: im = im.resize((im.width, im.height*2))
        if i % 6 == 3: im.putalpha(im.convert('L').point(lambda v: 255 if v > 90 else 40))
        kind = 'png' if i % 6 == 3 else ('jpg', 'png', 'webp', 'gif', 'bmp')[i % 5]
        im.save(folder/f'{i}.{kind}', **({} if kind in ('gif', 'bmp') else dict(quality=90)))
    return sorted(folder.iterdir())

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--photos', help='a folder of photographs')
    parser.add_argument('-n', type=int, default=300, help='photographs to compare (default: %(default)s)')
    parser.add_argument('--runtime', help='as `bearclf site` takes it')
    args = parser.parse_args()
    res = dict(command=shlex.join(['python', *sys.argv]), cores=os.cpu_count(), load_at_start=os.getloadavg()[0])
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        sizes = build_site(f'{tmp}/public', runtime=args.runtime)
        url, classifier = serve(f'{tmp}/public'), Classifier()
        sets = {}
        if args.photos:
            files = photographs(args.photos, args.n, Path(tempfile.mkdtemp(dir=tmp)))
            sets |= dict(photographs=files, enlarged=enlarged(files[:40], Path(tempfile.mkdtemp(dir=tmp))))
        sets['drawn'] = drawings(Path(tempfile.mkdtemp(dir=tmp)))
        context = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS).new_context()
        visits = []
        for i in range(6): # the first one loads all; the service worker has the others' files
            page = context.new_page()
            visits.append(opened(page, url))
            if not i:
                page.evaluate('navigator.serviceWorker.ready.then(() => true)')
                res['first_visit_bytes'] = sum(Handler.sent.values())
                res['one_thread'] = compared(page, classifier, next(iter(sets.values()))[:60])
            page.close()
        res['first_visit'] = dict(first_paint=round(visits[0][0], 3), ready=round(visits[0][1], 3))
        res['later_visits'] = dict(first_paint=round(statistics.median(v[0] for v in visits[1:]), 3), ready=round(statistics.median(v[1] for v in visits[1:]), 3))
        res['site_bytes'] = sum(sizes.values())
        page = context.new_page()
        opened(page, url)
        res['threads'] = len(page.workers)
        for name, files in sets.items():
            res[name] = compared(page, classifier, files)
            print(name, res[name], flush=True)
    out = Path(__file__).with_name('results')/'site.json'
    out.write_text(json.dumps(res, indent=1) + '\n')
    print(out.read_text())

if __name__ == '__main__': main()
