"""How fast bearclf.inference is, beside fastai with the same network on the same files in the same run.

    python benchmarks/inference.py --photos images

Writes benchmarks/results/inference.json. Times are medians over repetitions in which the sides take turns; a ratio is the median of the
repetitions' own ratios, so that what else the machine does at the time falls on both sides. Still, run it on a quiet machine: torch waits for
its threads by spinning, and on busy cores that makes fastai many times slower than it is. Needs the train extra.
"""
import argparse, json, os, platform, shlex, statistics, subprocess, sys, tempfile, time
from pathlib import Path

START = 'from bearclf.inference import Classifier; Classifier()'
PEAK = "; print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"  # of this process alone, in kB

# A network alone, on noise, in a process of its own: batch size, threads that call it at once, spinning, busy processes beside it.
RAW = '''
import json, statistics, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, onnxruntime as ort
file, batch, callers, spin = sys.argv[1], *map(int, sys.argv[2:])
opts = ort.SessionOptions()
opts.intra_op_num_threads = 2
opts.add_session_config_entry('session.intra_op.allow_spinning', str(spin))
session = ort.InferenceSession(file, opts, providers=['CPUExecutionProvider'])
x = np.random.default_rng(0).normal(size=(batch, *session.get_inputs()[0].shape[1:])).astype(np.float32)
def run(_):
    start = time.perf_counter()
    session.run(['logits'], {'image': x})
    return time.perf_counter() - start
with ThreadPoolExecutor(callers) as pool:
    list(pool.map(run, range(2*callers)))
    n, wall, cpu = max(2*callers, 96//batch), time.perf_counter(), time.process_time()
    each = list(pool.map(run, range(n)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
peak = next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'))
print(json.dumps(dict(ms=1e3*wall/n/batch, cpu_ms=1e3*cpu/n/batch, call_ms=1e3*statistics.median(each), peak_mb=peak/1024)))
'''


def median(xs, digits=2): return round(statistics.median(xs), digits)


def python(code, *args): return subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, check=True).stdout


def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def start_up(repeats):
    "Seconds from `python` to a loaded classifier and back, and the peak of resident memory."
    python(START)
    seconds = [timed(lambda: python(START)) for _ in range(repeats)]
    peak = [int(python(START + PEAK))/1024 for _ in range(3)] if sys.platform == 'linux' else []
    return dict(command=f'python -c "{START}"', seconds=median(seconds), peak_mb=median(peak, 0) if peak else None)


def raw(file, repeats, **settings):
    "Medians of `RAW` over `repeats`, the settings taking turns."
    runs = {name: [] for name in settings}
    for _ in range(repeats):
        for name, args in settings.items(): runs[name].append(json.loads(python(RAW, file, *args)))
    return {name: {k: median([r[k] for r in rs], 1) for k in rs[0]} for name, rs in runs.items()}


def spinning(file, repeats):
    "One picture at a time, with as many busy processes beside it as there are cores."
    busy = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(os.cpu_count())]
    try: return raw(file, repeats, off=(1, 1, 0), on=(1, 1, 1))
    finally:
        for p in busy: p.kill()
        for p in busy: p.wait()


def side_by_side(classifiers, learn, files, repeats):
    "Each classifier and the learner in turns: one file at a time, then all."
    some = files[:20]
    def one(f): return 1e3*statistics.median(timed(lambda: f(file)) for file in some)
    def many(f): return len(files)/timed(f)
    def by_learner(): learn.get_preds(dl=learn.dls.test_dl(files))
    ms, rate = {}, {}
    for i in range(repeats + 1):  # the first is to warm up
        for name, c in classifiers.items():
            ms.setdefault(name, []).append(one(c.predict))
            rate.setdefault(name, []).append(many(lambda: sum(1 for _ in c.predict_files(files, progress=False))))
        with learn.no_bar():
            ms.setdefault('fastai', []).append(one(learn.predict))
            rate.setdefault('fastai', []).append(many(by_learner))
        print(f'  repetition {i} of {repeats}: ' + ', '.join(f'{k} {ms[k][-1]:.1f} ms, {rate[k][-1]:.0f}/s' for k in ms), file=sys.stderr)
    ms, rate = ({k: v[1:] for k, v in o.items()} for o in (ms, rate))
    return dict(one_picture_ms={k: median(v) for k, v in ms.items()},
                one_picture_times_faster={k: median([b/a for a, b in zip(ms[k], ms['fastai'])]) for k in classifiers},
                folder_pictures_per_s={k: median(v, 1) for k, v in rate.items()},
                folder_times_faster={k: median([a/b for a, b in zip(rate[k], rate['fastai'])]) for k in classifiers})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--photos', help='folder of labelled photographs (default: images_path())')
    p.add_argument('--files', type=int, default=160, help='photographs in the folder that is timed')
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--out', default=Path(__file__).parent/'results'/'inference.json', type=Path)
    args = p.parse_args()
    if os.getloadavg()[0] > os.cpu_count()/2: print(f'The machine is busy (load {os.getloadavg()[0]:.1f}): the ratios to fastai will flatter.', file=sys.stderr)
    print('start-up', file=sys.stderr)
    res = dict(command=shlex.join(['python', *sys.argv]), start=start_up(args.repeats))  # before this process holds torch

    import fastai, onnxruntime, torch
    from fastai.vision.all import (DataBlock, ImageBlock, MultiCategoryBlock, RandomResizedCrop, RandomSplitter, aug_transforms, vision_learner)
    from bearclf.data import data_hash, images_path, read_labels
    from bearclf.inference import Classifier
    from bearclf.export import export_onnx
    from bearclf.multilabel import ARCH, bear_dataloaders, bear_learner, parent_label_multi

    pictures = read_labels(args.photos or images_path())
    pictures = pictures[::max(1, len(pictures)//args.files)][:args.files]
    files = [o.file for o in pictures]
    cpu = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), '') if sys.platform == 'linux' else platform.processor()
    res |= dict(created=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), cpu=cpu, cores=os.cpu_count(), load_at_start=os.getloadavg()[0], OMP_NUM_THREADS=os.environ.get('OMP_NUM_THREADS'),
                versions=dict(python=platform.python_version(), onnxruntime=onnxruntime.__version__, torch=torch.__version__, fastai=fastai.__version__),
                network=ARCH, pictures=dict(n=len(files), hash=data_hash(pictures)))

    # One network with random weights, on all sides. fastai comes first as it is, then as bear_learner sets it up (memory kept for the next
    # batch, channels_last): that holds for the whole process, so it can't be taken back.
    dls, kwargs = bear_dataloaders(pictures), dict(pretrained=False, concat_pool=False, lin_ftrs=[])
    with tempfile.TemporaryDirectory() as d:
        source = vision_learner(dls, ARCH, **kwargs)
        paths = dict(float32=Path(d)/'float32.onnx', int8=Path(d)/'int8.onnx')
        for name, path in paths.items(): export_onnx(source, path, int8=name == 'int8')
        classifiers = {name: Classifier(path) for name, path in paths.items()}
        card = classifiers['float32'].card
        res['size'] = card.size
        crop = RandomResizedCrop(card.size[0], min_scale=0.5, val_xtra=0 if card.resize == card.size else 0.14)
        plain = DataBlock((ImageBlock, MultiCategoryBlock(vocab=card.labels)), get_y=parent_label_multi, splitter=RandomSplitter(seed=42),
                          item_tfms=crop, batch_tfms=aug_transforms()).dataloaders(files)
        learn = vision_learner(plain, ARCH, **kwargs)
        learn.model.load_state_dict(source.model.state_dict())
        print('fastai as it comes', file=sys.stderr)
        res['beside_fastai_as_it_comes'] = side_by_side(classifiers, learn, files, args.repeats)
        print('fastai as bear_learner sets it up', file=sys.stderr)
        learn = bear_learner(dls, pretrained=False)
        learn.model.load_state_dict(source.model.state_dict())
        res['beside_bear_learner'] = side_by_side(classifiers, learn, files, args.repeats)
        print('batch sizes and spinning', file=sys.stderr)
        two = {str(n): (n, 2, 0) for n in (1, 2, 4, 8, 16)}
        res['batch_sizes'] = {name: raw(path, args.repeats, **two) for name, path in paths.items()}
        res['spinning_on_busy_cores'] = {name: spinning(path, args.repeats) for name, path in paths.items()}
    res['load_at_end'] = os.getloadavg()[0]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    part = args.out.with_suffix('.part')
    part.write_text(json.dumps(res, indent=1) + '\n')
    os.replace(part, args.out)
    print(json.dumps(res, indent=1))


if __name__ == '__main__': main()
