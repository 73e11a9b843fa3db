"""How long does it take to fetch 500 photographs of about 200 KB, 200 ms away, and how much memory? Ours beside one at a time.

    python benchmarks/download.py

"One at a time" is what the post's scraper does: the pages of the search, then each photograph by a request of its own, written as it comes,
nothing checked. Ours checks that each is a picture, and writes the manifest; `verify` at the end, which the other way lacks, is not counted but
reported. Both talk to tests/server.py as to Flickr, in this same run, in turns. Memory is the peak of a process of its own, of `download` as it is by
default: with `verify`.
Writes benchmarks/results/download.json."""
import json, os, shlex, statistics, subprocess, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).parent
LATENCY, SIDE = .2, 645  # seconds to each answer; pixels of each side, of noise, which makes about 200 KB

def one_at_a_time(url, dest, n):
    import requests
    from flickrapi import FlickrAPI
    api = FlickrAPI('good', 'secret', format='parsed-json', store_token=False)
    api.REST_URL = f'{url}/flickr'
    dest.mkdir(parents=True)
    for photo in api.photos.search(text='grizzly', extras='url_l,url_z', per_page=n, page=1)['photos']['photo']:
        where = photo.get('url_l') or photo['url_z']
        (dest/where.split('/')[-1]).write_bytes(requests.get(where, timeout=20).content)

def ours(url, dest, n, check=False):
    from bearclf.download import download
    from bearclf.network import Net
    from bearclf.sources import Flickr
    res = download('grizzly', n=n, source=Flickr('good', base=f'{url}/flickr', net=Net(allow=['127.0.0.1'])), dest=dest, check=check)
    assert res.words[0].new == n, res

def by_default(url, dest, n): ours(url, dest, n, check=True)

def check(url, dest, n):
    from bearclf.checks import verify
    verify(dest)

def child(way, url, dest, n):
    "One of the above, in a process of its own: its seconds without imports, and its peak of memory."
    import resource, bearclf.sources, flickrapi
    start = time.perf_counter()
    globals()[way](url, Path(dest), int(n))
    print(json.dumps(dict(seconds=round(time.perf_counter() - start, 2), peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024, 1))))

def measure(way, n, dest):
    command = [sys.executable, HERE.parent/'tests'/'server.py', str(n), str(SIDE), str(LATENCY)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        command = [sys.executable, __file__, '--child', way, server.stdout.readline().strip(), dest, str(n)]
        out = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        server.stdin.close()
        server.wait()
    return json.loads(out.stdout)

def main():
    rounds, n = [], 500
    with tempfile.TemporaryDirectory() as d:
        for i in range(3):
            rounds.append(dict(ours=measure('ours', n, f'{d}/ours{i}/images'), one_at_a_time=measure('one_at_a_time', n, f'{d}/one{i}/images')))
            print(rounds[-1], flush=True)
        files = list(Path(d, 'ours0').rglob('*.jpg'))
        size = sum(f.stat().st_size for f in files)/len(files)
        memory = {k: sorted(measure('by_default', k, f'{d}/memory{k}-{i}/images')['peak_mb'] for i in range(3)) for k in (500, 2000)}
        seconds = measure('check', n, f'{d}/ours0/images')['seconds']
    ratio = [r['one_at_a_time']['seconds']/r['ours']['seconds'] for r in rounds]
    res = dict(command=shlex.join(['python', *sys.argv]), photographs=n, bytes_each=round(size), latency_s=LATENCY, cpus=os.cpu_count(),
               load=os.getloadavg()[1],
               seconds={way: statistics.median(r[way]['seconds'] for r in rounds) for way in ('ours', 'one_at_a_time')},
               times_faster=dict(median=round(statistics.median(ratio), 2), rounds=[round(x, 2) for x in ratio]), verify_afterwards_s=seconds,
               peak_mb={f'{k} photographs': dict(median=m[1], rounds=m) for k, m in memory.items()}, rounds=rounds)
    (HERE/'results'/'download.json').write_text(json.dumps(res, indent=1) + '\n')
    print(json.dumps(res, indent=1))

if __name__ == '__main__': child(*sys.argv[2:]) if sys.argv[1:2] == ['--child'] else main()
