"What the notebook 31_cluster is the wrong place for: a cluster of two workers, started as a user would, and one of them killed."
import json, os, signal, subprocess, sys, tempfile, time

import psutil, pytest

from bearclf.drawn import sample_images
from helpers import free_port

def ray_(*args): return subprocess.run([sys.executable, '-m', 'ray.scripts.scripts', *args], capture_output=True, text=True)

def at_work(since):
    "Processes begun since then that hold a model."
    return [p for p in psutil.process_iter(['cmdline', 'create_time']) if p.info['create_time'] > since and (p.info['cmdline'] or [''])[0].startswith('ray::MapWorker')]

def start(options):
    """`ray start` with what `options` gives for the number of the try; that number. On a busy machine it gives up after 30
    seconds, and what it has begun goes on."""
    for n in range(10):
        res = ray_('start', *options(n), '--disable-usage-stats')
        if res.returncode == 0: return n
    pytest.fail(res.stdout + res.stderr)

@pytest.fixture(scope='module')
def cluster():
    "A head without cores, and two workers of one core each; gives the address."
    ports = {}
    def head(n):
        ports[n] = free_port()
        return '--head', f'--port={ports[n]}', '--num-cpus=0', '--include-dashboard=false', f'--temp-dir={tmp}/{n}'
    with tempfile.TemporaryDirectory(prefix='ray-') as tmp: # a short path: sockets lie below it
        try:
            address = f'127.0.0.1:{ports[start(head)]}'
            for _ in range(2): start(lambda n: (f'--address={address}', '--num-cpus=1'))
            yield address
        finally: ray_('stop', '--force')

@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = sample_images(tmp_path_factory.mktemp('cluster')/'drawn', n=12)
    (root/'teddys'/'notes.jpg').write_text('Bring the teddy.')
    return root

def predict(*args, address=None, **kwargs):
    env = dict(os.environ) | (dict(RAY_ADDRESS=address) if address else {})
    return subprocess.run([sys.executable, '-m', 'bearclf', 'predict', *map(str, args)], capture_output=True, text=True, env=env, **kwargs)

@pytest.fixture(scope='module')
def plain(drawn, tmp_path_factory):
    table = tmp_path_factory.mktemp('plain')/'plain.jsonl'
    assert predict(drawn, '--jsonl', table, '--quiet').returncode == 1 # for the one that is no picture
    return table.read_text()

def test_rows_are_those_of_one_machine(cluster, drawn, plain, tmp_path):
    table = tmp_path/'ray.jsonl'
    res = predict(drawn, '--engine', 'ray', '--jsonl', table, address=cluster)
    assert res.returncode == 1 and table.read_text() == plain, res.stderr
    assert 'not readable 1' in res.stderr and 'ray.data' not in res.stderr
    again = predict(drawn, '--engine', 'ray', '--jsonl', table, address=cluster) # only the one that failed
    assert '60 had a row' in again.stderr and table.read_text() == plain, again.stderr

def test_a_store_and_a_folder_of_parts(cluster, drawn, plain, tmp_path):
    import pyarrow.parquet as pq
    res = predict(f'file://{drawn}', '--engine', 'ray', '--parquet', f'{tmp_path}/parts/', address=cluster)
    assert res.returncode == 1, res.stderr
    rows = pq.read_table(tmp_path/'parts').to_pylist()
    before = [json.loads(line) for line in plain.splitlines()]
    assert [r['file'] for r in rows] == [f'file://{r["file"]}' for r in before]
    assert [{k: r[k] for k in b.get('probs', {})} for r, b in zip(rows, before)] == [b.get('probs', {}) for b in before]

def test_a_worker_killed_in_the_middle(cluster, drawn, plain, tmp_path):
    table = tmp_path/'killed.jsonl'
    env = dict(os.environ, RAY_ADDRESS=cluster)
    since = time.time()
    job = subprocess.Popen([sys.executable, '-m', 'bearclf', 'predict', str(drawn), '--engine', 'ray', '--jsonl', str(table), '--quiet'],
                           env=env, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and not at_work(since): time.sleep(.02)
    worker = at_work(since)[0].parent() # the raylet, with all that it has started
    for p in [*worker.children(recursive=True), worker]:
        try: p.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess: pass
    assert job.wait() == 1, job.stderr.read()
    assert table.read_text() == plain

def test_without_a_cluster(tmp_path):
    (tmp_path/'a.jpg').write_bytes(b'no picture')
    res = predict(tmp_path, '--engine', 'ray', address='127.0.0.1:1')
    assert res.returncode == 2 and 'ray start --head' in res.stderr and 'Traceback' not in res.stderr

def test_without_ray(tmp_path):
    (tmp_path/'a.jpg').write_bytes(b'no picture')
    code = f"import sys; sys.modules['ray'] = None; from bearclf.cli import main; sys.exit(main(['predict', {str(tmp_path)!r}, '--engine', 'ray']))"
    res = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert res.returncode == 2 and "pip install 'bearclf[ray]'" in res.stderr and 'Traceback' not in res.stderr

def test_addresses_are_not_sorted(tmp_path):
    res = predict(f'file://{tmp_path}', '--sort', tmp_path/'sorted')
    assert res.returncode == 2 and 'not at addresses' in res.stderr
