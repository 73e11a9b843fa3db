"""At which distance does `dedupe` take away copies, at which strangers; and how long does it take with many pictures?

    python benchmarks/dedupe.py distance --photos ../shared/photos/images --drawn 120
    python benchmarks/dedupe.py speed -n 10000

Writes benchmarks/results/dedupe_distance.json and dedupe_speed.json. The figures in nbs/15_checks.ipynb come from them."""
import argparse, itertools, json, os, platform, random, shlex, statistics, sys, tempfile, time
from pathlib import Path

import numpy as np
from PIL import Image

from bearclf.checks import DEDUPE_DISTANCE, dedupe, near_duplicates
from bearclf.clean import Cleaner, _Page
from bearclf.drawn import sample_images
from bearclf.manifest import read_manifest
from bearclf.pictures import picture_files, threaded
from duplicates import WAYS, measure

KINDS = {'saved anew': ('JPEG, quality 60', 'JPEG, quality 25', 'WebP, quality 60'), 'resized': ('half the size', 'height x 0.85'),
         'trimmed by 2 % a side': ('trimmed by 2 % a side',), 'trimmed by 4 % a side': ('trimmed by 4 % a side',)}

def write(name, **res):
    processor = f'{os.cpu_count()} x {platform.processor() or platform.machine()}'
    res = dict(command=shlex.join(['python', 'benchmarks/dedupe.py', *sys.argv[1:]]), processor=processor, load=os.getloadavg()[1], **res)
    (Path(__file__).with_name('results')/name).write_text(json.dumps(res, indent=1) + '\n')
    print(json.dumps(res, indent=1))

def by_distance(files):
    "For each distance: the share of copies of each kind that is found, and how many pairs of strangers are."
    hashes, copies = zip(*threaded(measure, files))
    strangers = [(a ^ b).bit_count() for a, b in itertools.combinations([h for h in hashes if h is not None], 2)]
    def found(kind, bits):
        off = [(h ^ c).bit_count() for h, cs in zip(hashes, copies) for way, c in zip(WAYS, cs) if way in KINDS[kind] and None not in (h, c)]
        return round(sum(o <= bits for o in off)/len(off), 4)
    return dict(pictures=len(files), pairs=len(strangers),
                rows=[dict(bits=b, strangers=sum(s <= b for s in strangers), **{k: found(k, b) for k in KINDS}) for b in range(13)])

def distance(args):
    with tempfile.TemporaryDirectory() as d:
        drawn = [f for f in picture_files(sample_images(Path(d)/'drawn', n=args.drawn))]
        write('dedupe_distance.json', photographs=by_distance(picture_files(args.photos)), drawn=by_distance(drawn))

SIDE = (1024, 768)
GRAIN = Image.effect_noise(SIDE, 60).convert('RGB')  # so that the files are as long as photographs are

def scene(rng):
    "A picture unlike any other: clouds of colour, and grain."
    clouds = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(SIDE, Image.BICUBIC)
    return Image.blend(clouds, GRAIN, .3)

def make(root, n, copies):
    "`n` JPEGs under four labels, of which `copies` are smaller copies of another under the same label."
    for k in range(4): (root/f'kind{k}').mkdir(parents=True)
    def one(i):
        im = scene(np.random.default_rng(i))
        im.save(root/f'kind{i % 4}'/f'{i:05}.jpg', quality=88)
        if i < copies: im.resize((800, 600)).save(root/f'kind{i % 4}'/f'{i:05} small.jpg', quality=70)
    for _ in threaded(one, range(n - copies)): pass

def timed(f):
    "What `f` gives, and how long it takes: by the clock, and of the processor's time, which other work on the machine changes little."
    clock, cpu = time.perf_counter(), time.process_time()
    res = f()
    return res, dict(seconds=round(time.perf_counter() - clock, 2), cpu_seconds=round(time.process_time() - cpu, 2))

def speed(args):
    copies = args.n//50
    with tempfile.TemporaryDirectory() as d:
        root = Path(d)/'images'
        make(root, args.n, copies)
        size = statistics.mean(f.stat().st_size for f in picture_files(root))
        done, whole = timed(lambda: dedupe(root))
        assert len(done.copies) == copies == len(list(read_manifest(root))) and all('small' in c.file.name for c in done.copies)
        cleaner, opened = timed(lambda: Cleaner(root))
        page, first = timed(lambda: _Page(cleaner, 24))
        _, turned = timed(lambda: page.show(page.page + 1))
    hashes = {i: random.Random(i).getrandbits(64) for i in range(args.n)}
    _, search = timed(lambda: near_duplicates(hashes, DEDUPE_DISTANCE, hashes=hashes))
    write('dedupe_speed.json', pictures=args.n, size='{} x {}'.format(*SIDE), mean_bytes=round(size), copies=copies, dedupe=whole,
          search_alone=search, cleaner_without_model=opened, first_page=first, next_page=turned)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser('distance')
    p.add_argument('--photos', required=True)
    p.add_argument('--drawn', type=int, default=120, help='drawn pictures of each of five kinds')
    p.set_defaults(run=distance)
    p = commands.add_parser('speed')
    p.add_argument('-n', type=int, default=10_000)
    p.set_defaults(run=speed)
    args = parser.parse_args()
    args.run(args)
