"""Folders of any size: how near a folder comes to its limits, and whether a hundred thousand files cost more each than a thousand.

    python benchmarks/folders.py --photos images

Writes benchmarks/results/folders.json. The limits of a folder are decoding alone and the network alone, each by as many threads as the folder is
classified by; they share the cores, so their sum is the floor. All three take turns on the same files in one process, in milliseconds of time and of CPU a
picture: on a busy machine only the second says something. The many files are hard links to small drawn pictures, classified by a network that costs
next to nothing, so what is measured is all the rest: walking, opening, the table.
"""
import argparse, json, os, platform, random, shlex, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent/'tests'))
from tiny_model import tiny_model

from bearclf.batch import rows_of
from bearclf.data import images_path
from bearclf.drawn import draw
from bearclf.inference import Classifier
from bearclf.pictures import DECODE_SIDE, open_picture, picture_files, threaded


def median(xs, digits=2): return round(statistics.median(xs), digits)


def cost(f, n):
    "Milliseconds of time and of CPU for each of `n`."
    wall, cpu = time.perf_counter(), time.process_time()
    f()
    return 1e3*(time.perf_counter() - wall)/n, 1e3*(time.process_time() - cpu)/n


def limits(photos, n, repeats):
    "A folder, and what it is made of."
    files = picture_files(photos)
    random.Random(0).shuffle(files)
    files, classifier = files[:n], Classifier()
    parts = [part[None] for f in files for part in classifier.preprocess(f)]
    looks = np.sum([~np.isnan(classifier.predict(f).heard.closer[0, :, 0]) for f in files])
    parts += (2*parts)[:looks]  # a closer look costs as much as the first
    session = classifier._network.session
    names = [o.name for o in session.get_outputs()]

    def all_of(f, items):
        for _ in threaded(f, items, classifier.workers): pass
    sides = dict(decoding=lambda: all_of(lambda f: open_picture(f, at_least=DECODE_SIDE), files),
                 network=lambda: all_of(lambda x: session.run(names, {'image': x}), parts),
                 folder=lambda: [None for _ in rows_of(classifier, files)],
                 one_at_a_time=lambda: [classifier.predict(f) for f in files[:20]])
    runs = {name: [] for name in sides}
    for i in range(repeats + 1):  # the first is to warm up
        for name, f in sides.items(): runs[name].append(cost(f, 20 if name == 'one_at_a_time' else len(files)))
    runs = {name: rs[1:] for name, rs in runs.items()}

    def ratio(k, *names): return median([f[k]/sum(o[k] for o in others) for f, *others in zip(runs['folder'], *(runs[n] for n in names))])
    return dict(pictures=len(files), threads=classifier.workers, runs_a_picture=round(len(parts)/len(files), 2),
                ms={name: median([r[0] for r in rs]) for name, rs in runs.items()},
                cpu_ms={name: median([r[1] for r in rs]) for name, rs in runs.items()},
                folder_to_network=dict(ms=ratio(0, 'network'), cpu_ms=ratio(1, 'network')),
                folder_to_decoding_and_network=dict(ms=ratio(0, 'decoding', 'network'), cpu_ms=ratio(1, 'decoding', 'network')))


PREDICT = """
import sys
from bearclf.cli import main
code = main(['predict', *sys.argv[1:]])
print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)
sys.exit(code)
"""


def command(*args):
    "Seconds, seconds of CPU and peak of memory in MB of a `bearclf predict` (Linux)."
    start = time.perf_counter()
    p = subprocess.Popen([sys.executable, '-c', PREDICT, *map(str, args)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = p.stderr.read()
    _, status, used = os.wait4(p.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, int(said.split()[-1])/1024


def many(sizes, tmp):
    "Folders of hard links, with a table, and once more when all rows are there."
    model, res = tiny_model(tmp/'tiny.onnx'), {}
    drawn = tmp/'drawn'
    drawn.mkdir()
    for i in range(100): draw(['teddys'], random.Random(i)).resize((64, 64)).save(drawn/f'{i}.jpg')
    for n in sizes:
        folder = tmp/str(n)
        for i in range(n):
            if i % 1000 == 0: (folder/f'{i//1000:04}').mkdir(parents=True)
            os.link(drawn/f'{i % 100}.jpg', folder/f'{i//1000:04}'/f'{i:06}.jpg')
        res[n] = {}
        for run in ('first', 'again'):
            s, cpu, mb = command(folder, '--csv', tmp/f'{n}.csv', '--model', model)
            res[n][run] = dict(ms_a_file=round(1e3*s/n, 3), cpu_ms_a_file=round(1e3*cpu/n, 3), peak_mb=round(mb))
        print(n, res[n], file=sys.stderr)
    return res


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--photos', help='folder of photographs (default: images_path())')
    p.add_argument('--pictures', type=int, default=200, help='photographs for the limits')
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--sizes', type=int, nargs='+', default=[1000, 100_000], help='files in the folders of links')
    p.add_argument('--out', default=Path(__file__).parent/'results'/'folders.json', type=Path)
    args = p.parse_args()
    res = dict(command=shlex.join(['python', *sys.argv]), created=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), cores=os.cpu_count(),
               load_at_start=os.getloadavg()[0], python=platform.python_version(), model=Classifier().card.name)
    with tempfile.TemporaryDirectory() as d:
        picture = Path(d)/'bear.jpg'
        draw(['grizzly'], random.Random(0)).save(picture)
        runs = [command(picture) for _ in range(args.repeats)]
        res['one_picture_from_the_shell'] = dict(seconds=median([r[0] for r in runs]), cpu_seconds=median([r[1] for r in runs]), peak_mb=median([r[2] for r in runs], 0))
        res['limits'] = limits(args.photos or images_path(), args.pictures, args.repeats)
        res['many'] = many(args.sizes, Path(d))
    res['load_at_end'] = os.getloadavg()[0]
    part = args.out.with_suffix('.part')
    part.write_text(json.dumps(res, indent=1) + '\n')
    os.replace(part, args.out)
    print(json.dumps(res, indent=1))


if __name__ == '__main__': main()
