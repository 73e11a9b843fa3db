"""From how many photographs on Ray pays: `bearclf predict` as it is and with `--engine ray`, over the same photographs, in turn.

    ray start --head --num-cpus 2
    python benchmarks/cluster.py --photos images
    ray stop

Writes benchmarks/results/cluster.json. Each engine classifies a few photographs and many, a table into an empty folder each time; the line
through both says what the command costs whatever it has to do (`start`, seconds) and how many photographs it does in a second after that
(`rate`). If each machine of a cluster were like this one, m of them would pay from that many photographs on, where their rate has made good
for their start (`pays_from`). All runs share the cores of one machine, so Ray can only lose here.
"""
import argparse, json, os, platform, shlex, statistics, subprocess, sys, tempfile, time
from pathlib import Path

from bearclf.pictures import picture_files


def seconds(files, *args):
    "How long the command takes over `files`."
    with tempfile.TemporaryDirectory() as d:
        names = Path(d)/'names'
        names.write_text('\0'.join(map(str, files)))
        begin = time.perf_counter()
        subprocess.run([sys.executable, '-m', 'bearclf', 'predict', '--files-from', names, '--jsonl', f'{d}/rows.jsonl', '--quiet', *args], check=True)
        return time.perf_counter() - begin


def line(few, many, counts):
    "Seconds of the start, and photographs a second after it."
    each = (many - few)/(counts[1] - counts[0])
    return dict(few=round(few, 2), many=round(many, 2), start=round(few - counts[0]*each, 2), rate=round(1/each, 1))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--photos', type=Path, required=True)
    p.add_argument('--many', type=int, default=1500)
    p.add_argument('--repeat', type=int, default=3)
    args = p.parse_args()
    files = [f.resolve() for f in picture_files(args.photos)][:args.many]
    if len(files) < 100: p.error('too few photographs to time; give a folder with 100 or more.')
    counts, engines = (len(files)//10, len(files)), {'local': (), 'ray': ('--engine', 'ray')}
    times = {name: ([], []) for name in engines}
    for _ in range(args.repeat):
        for i, n in enumerate(counts):
            for name, option in engines.items(): times[name][i].append(seconds(files[:n], *option))
    res = {name: line(*map(statistics.median, ts), counts) for name, ts in times.items()}
    late, plain, ray = res['ray']['start'] - res['local']['start'], res['local']['rate'], res['ray']['rate']
    res['pays_from'] = {m: round(late/(1/plain - 1/(m*ray))) for m in (2, 4, 10) if m*ray > plain}
    res |= dict(command=shlex.join(['python', *sys.argv]), photographs=counts, repeat=args.repeat, cores=os.cpu_count(), python=platform.python_version())
    (Path(__file__).parent/'results'/'cluster.json').write_text(json.dumps(res, indent=1) + '\n')
    print(json.dumps(res, indent=1))


if __name__ == '__main__': main()
