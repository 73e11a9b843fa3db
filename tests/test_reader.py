"The process that reads pictures for the page: hangs, deaths, keys."
import json, os, random, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor

import psutil, pytest
from PIL import Image

from bearclf.drawn import draw
from bearclf.reader import MAX_SECONDS, Reader
from helpers import encoded, eventually

TEDDY_JPEG = encoded(draw(('teddys',), random.Random(4)), 'JPEG')

PATCH = '''
import os, sys, time
import bearclf.reader as reader
if sys.argv[0] == '-c':
    look, start = reader.look, reader._Workers._start
    def odd(upload, classifier):
        if upload == b'hang': time.sleep(1000)
        if upload == b'crash': os.abort()
        return look(upload, classifier)
    class Line: # the time of one that hangs is over when there is a file, and that of others never
        def __init__(self, pipe): self.pipe, self.recv_bytes = pipe, pipe.recv_bytes
        def send_bytes(self, upload):
            self.hangs = upload == b'hang'
            self.pipe.send_bytes(upload)
        def poll(self, seconds):
            while self.hangs and not os.path.exists(os.environ['TIME_IS_OVER']): time.sleep(.05)
            return self.pipe.poll(0 if self.hangs else None)
    def started(self):
        process, pipe = start(self)
        return process, Line(pipe)
    reader.look, reader._Workers._start = odd, started
'''

def test_a_picture_that_hangs_or_kills_its_worker(tmp_path, monkeypatch):
    (tmp_path/'sitecustomize.py').write_text(PATCH)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])]))
    monkeypatch.setenv('TIME_IS_OVER', str(tmp_path/'over'))
    with Reader() as reader, ThreadPoolExecutor() as pool:
        hangs = pool.submit(reader.ask, b'hang')
        time.sleep(.2)
        try: assert 'probs' in reader.ask(TEDDY_JPEG) and not hangs.done() # the other worker goes on
        finally: (tmp_path/'over').touch()
        assert f'more than {MAX_SECONDS} seconds' in hangs.result()['error']
        assert 'broke down' in reader.ask(b'crash')['error']
        assert 'probs' in reader.ask(TEDDY_JPEG)
        for worker in psutil.Process(reader._process.pid).children(recursive=True):
            if worker.cmdline() == worker.parent().cmdline(): worker.kill() # one with nothing to do
        eventually(lambda: 'probs' in reader.ask(TEDDY_JPEG))
        assert 'probs' in reader.ask(TEDDY_JPEG)

def test_a_panorama_of_63_megapixels():
    with Reader() as reader: assert 'probs' in reader.ask(encoded(Image.new('L', (15_000, 4_200), 90), 'JPEG'))

def test_the_reader_ends_with_the_one_who_started_it(tmp_path):
    code = 'import os; from bearclf.reader import Reader; r = Reader(); print(r._process.pid, flush=True); os.kill(os.getpid(), 9)'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout
    def ended():
        try: return psutil.Process(int(out)).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess: return True
    eventually(ended)

def test_only_who_has_the_key_is_answered():
    with Reader() as reader:
        address, key = json.loads(reader.where)
        stranger = Reader.__new__(Reader)
        stranger.where, stranger._visitor = json.dumps([address, '00'*32]), b''
        assert 'stopped' in stranger.ask()['error'] and 'labels' in reader.ask()

@pytest.mark.parametrize('upload', [TEDDY_JPEG[:200], b'\0\0\0\x18ftypheic' + bytes(500), b'RIFF\x10\0\0\0WEBPVP8 ' + bytes(9), b'P6 12'])
def test_what_ends_in_its_header_kills_nobody(upload):
    with Reader() as reader:
        workers = {p.pid for p in psutil.Process(reader._process.pid).children(recursive=True)}
        said = reader.ask(upload)['error']
        assert said.startswith('This file is') and 'broke down' not in said
        assert {p.pid for p in psutil.Process(reader._process.pid).children(recursive=True)} == workers

def test_one_that_dies_is_started_again():
    with Reader() as reader:
        first = reader._process
        other = Reader.__new__(Reader) # as a visitor's process has it
        other.where, other._visitor, other._process = reader.where, b'other', None
        first.kill()
        first.wait()
        assert 'started again' in other.ask(TEDDY_JPEG)['error']
        eventually(lambda: 'probs' in other.ask(TEDDY_JPEG))
        assert reader._process is not first
    eventually(lambda: not psutil.pid_exists(reader._process.pid))

def test_a_costly_format_is_refused_sooner():
    with Reader() as reader:
        assert 'probs' in reader.ask(encoded(Image.new('L', (1000, 1000), 90), 'JPEG2000'))
        assert 'save it as a JPEG' in reader.ask(encoded(Image.new('L', (5000, 3000), 90), 'JPEG2000'))['error']

def test_onnxruntime_keeps_no_number_of_this_device_and_tells_nobody(tmp_path):
    (tmp_path/'home').touch() # no folder: who would write there complains
    code = 'import sys; from bearclf.reader import Reader; r = Reader(); assert "probs" in r.ask(sys.stdin.buffer.read()); r.close()'
    r = subprocess.run([sys.executable, '-c', code], input=TEDDY_JPEG, capture_output=True, env=os.environ | dict(HOME=str(tmp_path/'home')))
    assert (r.returncode, r.stderr) == (0, b'')
