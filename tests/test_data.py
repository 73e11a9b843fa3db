"What a notebook is the wrong place for: hostile files, links in circles, many processes at once, and that `verify` never loses a file."
import hashlib, io, os, random, shutil, struct, subprocess, sys, warnings, zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, pytest
from PIL import Image

from bearclf import checks, data, drawn, manifest, pictures, sources
from bearclf.checks import verify
from bearclf.data import Labelled, read_labels
from bearclf.pictures import DataError, PictureError, open_picture, picture_files

RED, ODD = (200, 30, 40), 'Bären im Wald 熊 🐻'

def red(mode='RGB', size=(40, 30)): return Image.new('RGB', size, RED).convert(mode)

def encoded(im, fmt, **kw):
    f = io.BytesIO()
    im.save(f, fmt, **kw)
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

# ---- opening

@pytest.mark.parametrize('fmt,mode,kw', [
    ('JPEG', 'RGB', {}), ('JPEG', 'L', {}), ('JPEG', 'CMYK', {}), ('PNG', 'RGB', {}), ('PNG', 'P', {}), ('PNG', 'RGBA', {}), ('PNG', 'LA', {}), ('PNG', '1', {}),
    ('WEBP', 'RGB', {}), ('WEBP', 'RGBA', {}), ('GIF', 'P', {}), ('BMP', 'RGB', {}), ('TIFF', 'RGB', {}), ('TIFF', 'CMYK', {}),
    ('TIFF', 'F', {}), ('TIFF', 'I', {}), ('JPEG2000', 'RGB', {}), ('PPM', 'RGB', {}), ('AVIF', 'RGB', {}), ('MPO', 'RGB', {}), ('JPEG', 'RGB', {'progressive': True})])
def test_every_mode_becomes_rgb(fmt, mode, kw):
    im = open_picture(encoded(red(mode), fmt, **kw))
    assert im.mode == 'RGB' and im.size == (40, 30) and type(im) is Image.Image
    if mode in ('RGB', 'RGBA', 'P', 'CMYK', 'YCbCr'): assert np.abs(np.array(im.getpixel((20, 15))) - RED).max() < 25

@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'PA', 'LA', 'La', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr', 'HSV', 'I', 'F', 'I;16', 'I;16B'])
def test_every_mode_of_a_pil_image(mode):
    im = Image.new(mode, (5, 4))
    got = open_picture(im)
    assert (got.mode, got.size) == ('RGB', (5, 4)) and got is not im

def test_heic():
    pillow_heif = pytest.importorskip('pillow_heif')
    f = io.BytesIO()
    pillow_heif.from_pillow(red(size=(64, 48))).save(f, quality=90)
    im = open_picture(f.getvalue())
    assert (im.mode, im.size) == ('RGB', (64, 48)) and np.abs(np.array(im.getpixel((20, 15))) - RED).max() < 25

def test_16_bits_are_scaled():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    want = (ramp/257).round().astype(np.uint8)
    assert (np.asarray(open_picture(encoded(Image.fromarray(ramp), 'PNG')))[..., 1] == want).all()
    assert (np.asarray(open_picture(encoded(Image.fromarray(ramp.astype(np.int32)), 'TIFF')))[..., 1] == want).all()
    assert (np.asarray(open_picture(encoded(Image.fromarray((ramp/65535).astype(np.float32)), 'TIFF')))[..., 1] == want).all()
    weird = np.array([[np.nan, np.inf], [-np.inf, 3e38]], np.float32)
    assert open_picture(encoded(Image.fromarray(weird), 'TIFF')).mode == 'RGB'

@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_rotation(orientation):
    upright = photo()
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(upright if turn is None else upright.transpose(turn), 'PNG', exif=exif)
    assert (np.asarray(open_picture(stored)) == np.asarray(upright)).all()
    assert open_picture(Image.open(io.BytesIO(stored))).size == upright.size

def test_broken_exif_is_no_broken_picture():
    stored = encoded(photo(), 'JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + b'\xee'*40)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert open_picture(stored).size == (160, 120)

def test_transparent_is_white_and_the_first_frame_is_taken():
    assert open_picture(encoded(Image.new('RGBA', (4, 4), (0, 0, 0, 0)), 'PNG')).getpixel((1, 1)) == (255, 255, 255)
    assert open_picture(encoded(Image.new('RGBA', (4, 4), (0, 0, 0, 51)), 'PNG')).getpixel((1, 1)) == (204, 204, 204)
    assert open_picture(encoded(red(), 'PNG', transparency=RED)).getpixel((1, 1)) == (255, 255, 255)
    for fmt in ('GIF', 'WEBP', 'PNG'):
        frames = encoded(red(), fmt, save_all=True, append_images=[Image.new('RGB', (40, 30), 'blue')], duration=50)
        r, g, b = open_picture(frames).getpixel((9, 9))
        assert r > 150 > b

def test_all_kinds_of_source_agree(tmp_path):
    im, file = photo(), tmp_path/f'{ODD}.png'
    im.save(file)
    want = im.tobytes()
    with open(file, 'rb') as f:
        f.seek(100)
        assert open_picture(f).tobytes() == want and not f.closed
    for src in (file, str(file), file.read_bytes(), bytearray(file.read_bytes()), memoryview(file.read_bytes()), io.BytesIO(file.read_bytes()),
                im, Image.open(file), np.asarray(im), np.asarray(im)/255, np.asarray(im)[:, ::-1][:, ::-1]):
        assert open_picture(src).tobytes() == want
    r, w = os.pipe()
    os.write(w, encoded(red(), 'PNG'))
    os.close(w)
    with open(r, 'rb') as f: assert open_picture(f).size == (40, 30)

def test_arrays():
    a = np.zeros((6, 8), np.uint8)
    for ok in (a, a[..., None], np.zeros((6, 8, 3)), np.full((6, 8, 4), 255, np.uint8), a.astype(np.float32), np.zeros((1, 1), np.uint8)): assert open_picture(ok).mode == 'RGB'
    for bad in (np.zeros((3, 6, 8)), np.zeros((6, 8, 2)), np.zeros(5), np.zeros((0, 8)), a + 2.0, a - 1.0, a.astype(np.int64), a.astype(np.uint16), a.astype(bool),
                np.full((6, 8), np.nan), np.array([['a']]), np.zeros((2, 6, 8, 3)), np.array([[object()]])):
        with pytest.raises(PictureError) as e: open_picture(bad, name='my array')
        one_sentence(e, 'my array')
    for bad in (None, 3, ['a.jpg'], object()):
        with pytest.raises(PictureError) as e: open_picture(bad)
        one_sentence(e)
    with pytest.raises(PictureError, match="mode 'rb'"): open_picture(io.StringIO('a'))

def test_a_given_picture_is_not_changed():
    exif = Image.Exif()
    exif[0x0112] = 6
    im = Image.open(io.BytesIO(encoded(photo(), 'JPEG', exif=exif)))
    open_picture(im, at_least=32)
    assert im.size == (160, 120) and im.getexif()[0x0112] == 6
    plain = red()
    open_picture(plain).putpixel((0, 0), (1, 2, 3))
    assert plain.getpixel((0, 0)) == RED

def test_at_least_keeps_both_sides():
    big = encoded(photo(size=(1600, 900)), 'JPEG')
    for n, size in ((32, (200, 113)), (200, (400, 225)), (450, (800, 450)), (451, (1600, 900)), (5000, (1600, 900))):
        assert open_picture(big, at_least=n).size == size

@pytest.mark.parametrize('content,why', [
    (b'', 'is empty'), (b'just text, named .jpg', 'not a picture'), (b'<html>404</html>', 'not a picture'), (b'\xff\xd8\xff', 'cut short|not a picture'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n', 'not a picture'), (b'\0\0\0\x18ftypheic' + b'\0'*40, 'damaged'),
    (png(30_000, 30_000), 'limit'), (png(12_000, 10_001), 'limit'), (png(2**31 - 1, 2**31 - 1), 'limit|damaged'), (png(0, 5), 'damaged|not a picture'),
    (b'GIF89a' + b'\xff'*30, 'damaged|not a picture'),
    (b'BM' + b'\xff'*60, 'damaged|not a picture'), (b'II*\0' + b'\xff'*60, 'damaged|not a picture')])
def test_hostile_files(tmp_path, content, why):
    file = tmp_path/f'{ODD}.jpg'
    file.write_bytes(content)
    for src in (file, content):
        with pytest.raises(PictureError, match=why) as e: open_picture(src, name=None if src is file else 'upload')
        one_sentence(e, ODD if src is file else 'upload')

def test_a_bomb_in_a_text_chunk():
    body = b'Comment\0\0' + zlib.compress(b'a'*80_000_000)
    chunk = struct.pack('>I', len(body)) + b'zTXt' + body + struct.pack('>I', zlib.crc32(b'zTXt' + body))
    with pytest.raises(PictureError, match='damaged'): open_picture(png(8, 8, b'\0\0'*8, extra=chunk))

@pytest.mark.parametrize('fmt', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF', 'JPEG2000', 'PPM'])
def test_cut_short_anywhere(fmt):
    whole = encoded(photo(), fmt)
    for share in (.02, .3, .6, .9):
        with pytest.raises(PictureError) as e: open_picture(whole[:int(len(whole)*share)], name='a.pic')
        one_sentence(e, 'a.pic')

def test_noise_never_raises_anything_else():
    rng = random.Random(1)
    for fmt in ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF', 'PPM'):
        whole = encoded(photo(size=(48, 40)), fmt)
        for _ in range(40):
            spoilt = bytearray(whole)
            for _ in range(rng.randint(1, 12)): spoilt[rng.randrange(min(len(spoilt), rng.choice((40, 10**6))))] = rng.randrange(256)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                try: assert open_picture(bytes(spoilt)).mode == 'RGB'
                except PictureError as e: assert '\n' not in str(e)

def test_places_that_are_no_files(tmp_path):
    with pytest.raises(PictureError, match='folder'): open_picture(tmp_path)
    for path in (tmp_path/'nothing.jpg', 'a\0b.jpg', tmp_path/('x'*300), tmp_path/'a'/'b.jpg', ''):
        with pytest.raises(PictureError, match='does not exist|can not be read') as e: open_picture(path)
        one_sentence(e)
    if hasattr(os, 'mkfifo'):
        os.mkfifo(tmp_path/'pipe.jpg')
        with pytest.raises(PictureError, match='not a regular file'): open_picture(tmp_path/'pipe.jpg')
    (tmp_path/'dangling.jpg').symlink_to(tmp_path/'gone')
    with pytest.raises(PictureError, match='does not exist'): open_picture(tmp_path/'dangling.jpg')
    with pytest.raises(PictureError) as e: open_picture(tmp_path/'two\nlines\x1b[31m.jpg')
    one_sentence(e)

@pytest.mark.skipif(sys.platform != 'linux', reason='names of any bytes are a thing of Linux')
def test_a_name_that_is_no_text(tmp_path):
    file = os.fsencode(tmp_path) + b'/b\xe4r.jpg'
    with open(file, 'wb') as f: f.write(encoded(red(), 'JPEG'))
    [found] = picture_files(tmp_path)
    assert open_picture(found).size == (40, 30)
    with open(file, 'wb') as f: f.write(b'no')
    with pytest.raises(PictureError) as e: open_picture(found)
    assert one_sentence(e).encode()
    print(verify(tmp_path, move=False))

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may read everything')
def test_no_permission(tmp_path):
    red().save(tmp_path/'a.jpg')
    (tmp_path/'a.jpg').chmod(0)
    with pytest.raises(PictureError, match='permission'): open_picture(tmp_path/'a.jpg')

def test_no_warning_below_our_limit():
    large = encoded(Image.new('L', (9_500, 9_500)), 'JPEG')  # Pillow warns from 89 million pixels on
    code = ('import sys; from bearclf.pictures import open_picture; im = open_picture(sys.stdin.buffer, at_least=512); print(im.size)')
    done = subprocess.run([sys.executable, '-c', code], input=large, capture_output=True)
    assert done.returncode == 0 and done.stderr == b'' and done.stdout.split() == [b'(1188,', b'1188)']

def test_many_threads_open_at_once():
    stored = [encoded(photo(i), fmt) for i, fmt in enumerate(('JPEG', 'PNG', 'WEBP', 'AVIF', 'GIF')*8)]
    want = [open_picture(b).tobytes() for b in stored]
    with ThreadPoolExecutor(16) as ex: assert [im.tobytes() for im in ex.map(open_picture, stored)] == want

def test_whole_files(tmp_path):
    file = tmp_path/f'{ODD}.csv'
    with pictures.whole_file(file) as part: part.write_text('1')
    with pytest.raises(DataError, match='disk full'), pictures.whole_file(file) as part:
        part.write_text('2')
        raise OSError('disk full')
    assert file.read_text() == '1' and list(tmp_path.iterdir()) == [file]
    def write(i):
        with pictures.whole_file(file) as part: part.write_text(str(i % 10)*100_000)
    with ThreadPoolExecutor(8) as ex: list(ex.map(write, range(40)))
    assert len(set(file.read_text())) == 1 and list(tmp_path.iterdir()) == [file]
    for bad in (tmp_path/'none'/'a.csv', tmp_path, file/'a.csv'):
        with pytest.raises(DataError) as e, pictures.whole_file(bad): pass
        one_sentence(e)

# ---- folders and labels

def test_links_and_hidden_files(tmp_path):
    root = tmp_path/ODD
    (root/'a'/'deep').mkdir(parents=True)
    (root/'.hidden').mkdir()
    other = tmp_path/'elsewhere'
    other.mkdir()
    for f in ('a/deep/1.JPG', 'a/2.HeIc', 'a/3.txt', 'a/._4.jpg', '.hidden/5.jpg', '0.png'): (root/f).write_bytes(b'x')
    (other/'6.webp').write_bytes(b'x')
    (root/'a'/'deep'/'up').symlink_to(root)
    (root/'a'/'self').symlink_to(root/'a')
    (root/'b').symlink_to(other)
    (other/'back').symlink_to(root/'b')
    (root/'c.jpg').symlink_to(tmp_path/'gone')
    found = [f.relative_to(root).as_posix() for f in picture_files(root)]
    assert found == ['0.png', 'a/2.HeIc', 'a/deep/1.JPG', 'b/6.webp', 'c.jpg']
    assert picture_files(str(root)) == sorted(pictures.iter_pictures(root))

def test_no_folder(tmp_path):
    (tmp_path/'file').write_text('x')
    for path in (tmp_path/'nothing', tmp_path/'file'):
        with pytest.raises(DataError) as e: picture_files(path)
        one_sentence(e, path.name)
    with pytest.raises(DataError, match='no pictures'): read_labels(tmp_path)

@pytest.fixture
def folder(tmp_path):
    "Two labels, and a folder for `labels.csv`."
    root = tmp_path/ODD
    for i, f in enumerate(('grizzly/a.jpg', 'grizzly/b.jpg', 'black bear/sub/c.jpg', 'both/d.jpg', 'both/e, f.jpg')):
        (root/f).parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(root/f)
    return root

def test_labels_of_folders_and_table(folder):
    (folder/'labels.csv').write_text('note,file,labels\n,both/d.jpg, grizzly ;black bear;grizzly\n\nx,"both/e, f.jpg",\n', encoding='utf-8-sig')
    got = {o.file.relative_to(folder).as_posix(): o.labels for o in read_labels(folder)}
    assert got == {'black bear/sub/c.jpg': ('black bear',), 'both/d.jpg': ('grizzly', 'black bear'), 'both/e, f.jpg': (), 'grizzly/a.jpg': ('grizzly',), 'grizzly/b.jpg': ('grizzly',)}

@pytest.mark.parametrize('table,why', [
    ('file,label\n', 'columns'), ('', 'columns'), ('file,labels\nboth/d.jpg,a\nboth/gone.jpg,a\n', 'line 3 names both/gone.jpg'),
    ('file,labels\nboth/d.jpg,a\nboth/./d.jpg,b\n', 'line 3 .*second time'), ('file,labels\n../x.jpg,a\n', 'line 2: .*not a file below'),
    ('file,labels\n/etc/passwd,a\n', 'not a file below'), ('file,labels\n,a\n', 'not a file below'), ('file,labels\nboth,a\n', 'does not exist')])
def test_bad_tables(folder, table, why):
    (folder/'labels.csv').write_text(table)
    with pytest.raises(DataError, match=why) as e: read_labels(folder)
    one_sentence(e, 'labels.csv')

def test_tables_that_are_no_text(folder):
    for raw in (b'file,labels\n\xff\xfe,a\n', b'file,labels\n' + b'"' + b'a'*200_000):
        (folder/'labels.csv').write_bytes(raw)
        with pytest.raises(DataError) as e: read_labels(folder)
        one_sentence(e, 'labels.csv')

def test_a_picture_without_label(folder):
    shutil.copy(folder/'both'/'d.jpg', folder/'stray.jpg')
    with pytest.raises(DataError, match='stray.jpg'): read_labels(folder)
    (folder/'labels.csv').write_text('file,labels\nstray.jpg,grizzly\n')
    assert Labelled(folder/'stray.jpg', ('grizzly',)) in read_labels(folder)

def test_label_names():
    assert data.label_name(' black  bear ') == 'black_bear'
    for bad in ('', '  ', '../../x', 'a/b', 'a\\b', '.hidden'):
        with pytest.raises(DataError): data.label_name(bad)

def test_the_hash_is_of_contents_and_labels_only(folder, tmp_path):
    was = data.data_hash(read_labels(folder))
    moved = tmp_path/'moved'
    shutil.copytree(folder, moved)
    (moved/'grizzly'/'a.jpg').rename(moved/'grizzly'/'z.jpg')
    assert data.data_hash(read_labels(moved)) == was
    (moved/'grizzly'/'z.jpg').rename(moved/'both'/'z.jpg')
    assert data.data_hash(read_labels(moved)) != was

# ---- drawn pictures

def test_sample_images_never_overwrites(tmp_path):
    dest = drawn.sample_images(tmp_path/'deep'/ODD, n=2)
    was = {f: f.stat().st_mtime_ns for f in dest.rglob('*')}
    drawn.sample_images(dest, n=2)
    assert {f: f.stat().st_mtime_ns for f in dest.rglob('*')} == was
    for kw in (dict(n=3), dict(n=1), dict(n=2, seed=1)):
        with pytest.raises(DataError, match='other files') as e: drawn.sample_images(dest, **kw)
        one_sentence(e, ODD)
    assert {f: f.stat().st_mtime_ns for f in dest.rglob('*')} == was
    assert [p.name for p in dest.parent.iterdir()] == [ODD]
    (tmp_path/'file').write_text('mine')
    with pytest.raises(DataError): drawn.sample_images(tmp_path/'file')
    with pytest.raises(DataError, match='can not be written'): drawn.sample_images(tmp_path/'file'/'below')
    with pytest.raises(DataError): drawn.sample_images(tmp_path/'none', n=0)
    with pytest.raises(DataError, match='part of this set'):
        next(dest.rglob('*.jpg')).unlink()
        drawn.sample_images(dest, n=2)
    (tmp_path/'empty').mkdir()
    assert data.data_hash(read_labels(drawn.sample_images(tmp_path/'empty', n=1)))

def test_same_seed_same_set_in_another_process(tmp_path):
    code = f'from bearclf.data import *; from bearclf.drawn import sample_images; print(data_hash(read_labels(sample_images({str(tmp_path/"b")!r}, n=2, seed=9))))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={**os.environ, 'PYTHONHASHSEED': '5'})
    assert done.stdout.strip() == data.data_hash(read_labels(drawn.sample_images(tmp_path/'a', n=2, seed=9)))

@pytest.fixture
def fresh(tmp_path, monkeypatch):
    "A temporary folder of its own and no photographs, so that the drawn set is made anew."
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    monkeypatch.delenv('BEARCLF_DATA', raising=False)
    (tmp_path/'work').mkdir()
    monkeypatch.chdir(tmp_path/'work')
    return tmp_path

def test_many_processes_draw_at_once(fresh):
    code = 'from bearclf.data import *; from bearclf.pictures import picture_files; print(images_path(), data_hash(read_labels(images_path())), len(picture_files(companion_path("pool/general"))))'
    runs = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    out = {p.communicate()[0] for p in runs}
    assert all(p.returncode == 0 for p in runs) and len(out) == 1
    assert [p.name for p in fresh.iterdir() if p.name.startswith(('bearclf', '.bearclf'))] == [Path(out.pop().split()[0]).parent.name]

def test_a_half_cleaned_set_is_made_anew(fresh):
    with ThreadPoolExecutor(2) as ex: [path] = set(ex.map(lambda _: data.images_path(), range(2)))
    was = data.data_hash(read_labels(path))
    for f in picture_files(path)[::3]: f.unlink()
    assert data.data_hash(read_labels(data.images_path())) == was
    (path/'labels.csv').unlink()
    assert data.data_hash(read_labels(data.images_path())) == was
    assert len(picture_files(data.companion_path('probes'))) == 4
    with pytest.raises(DataError, match='no folder pool/panda'): data.companion_path('pool/panda')

def test_where_the_pictures_are(fresh, monkeypatch):
    work = fresh/'work'
    (work/'nbs').mkdir()
    (work/'images').mkdir()
    (work/'probes').mkdir()
    assert data.images_path() == Path('images') and data.companion_path('probes') == work/'probes'
    monkeypatch.chdir(work/'nbs')
    assert data.images_path().resolve() == work/'images' and data.companion_path('probes').resolve() == work/'probes'
    monkeypatch.setenv('BEARCLF_DATA', str(fresh/'none'))
    with pytest.raises(DataError, match='BEARCLF_DATA') as e: data.images_path()
    one_sentence(e, 'none')

def test_drawn_is_a_source(tmp_path):
    source = sources.Drawn(3)
    records = list(source.search('grizzly;teddys', 3))
    assert len({r.id for r in records}) == 3 and all(r.source == source.name and r.licence for r in records)
    files = [source.fetch(r, tmp_path) for r in records]
    assert sorted(files) == picture_files(tmp_path) and len(list(tmp_path.iterdir())) == 3
    assert len({f.read_bytes() for f in files}) == 3

# ---- duplicates

def brute(hashes, d):
    "Groups by comparing each with each."
    left, res = set(hashes), []
    while left:
        group, todo = set(), [left.pop()]
        while todo:
            a = todo.pop()
            group.add(a)
            near = {b for b in left if (hashes[a] ^ hashes[b]).bit_count() <= d}
            left -= near
            todo += near
        if len(group) > 1: res.append(group)
    return sorted(map(sorted, res))

@pytest.mark.parametrize('distance', [0, 1, 5, 10, 17, 31])
def test_groups_equal_those_of_comparing_each_with_each(distance):
    rng = random.Random(distance)
    hashes = {i: rng.getrandbits(64) for i in range(150)}
    for i in range(150, 300):
        h = hashes[rng.randrange(i)]
        for b in rng.sample(range(64), rng.randint(0, 18)): h ^= 1 << b
        hashes[i] = h
    assert sorted(map(sorted, checks.near_duplicates(hashes, distance, hashes=hashes))) == brute(hashes, distance)

def test_edges_of_near_duplicates(tmp_path):
    assert checks.near_duplicates([]) == []
    for bad in (-1, 32, 64):
        with pytest.raises(ValueError): checks.near_duplicates([], bad)
    blank = {c: tmp_path/f'{c}.jpg' for c in ('white', 'black', 'navy')}
    for c, f in blank.items(): Image.new('RGB', (300, 200), c).save(f)
    assert set(checks.hash_pictures(blank.values()).values()) == {None} and checks.near_duplicates(blank.values()) == []
    photo().save(tmp_path/'a.jpg')
    assert checks.near_duplicates([tmp_path/'a.jpg', tmp_path/'a.jpg']) == []
    (tmp_path/'b.jpg').write_text('no')
    with pytest.raises(PictureError, match='b.jpg'): checks.near_duplicates([tmp_path/'a.jpg', tmp_path/'b.jpg'])

# ---- verify

def contents(*folders):
    "How often each content lies in `folders`."
    return Counter(hashlib.sha256(f.read_bytes()).hexdigest() for d in folders for f in d.rglob('*') if f.is_file() and f.name not in ('labels.csv', 'manifest.jsonl'))

def test_verify_loses_nothing(tmp_path):
    rng = random.Random(4)
    root, aside = tmp_path/ODD, tmp_path/f'{ODD}_set_aside'
    drawn.sample_images(root, n=6)
    for f in picture_files(root):
        what = rng.randrange(6)
        if what == 0: f.write_bytes(f.read_bytes()[:rng.randrange(3000)])
        elif what == 1: Image.new('RGB', (20, 20), tuple(rng.randbytes(3))).save(f)
    was, pictures, rows = contents(root), len(picture_files(root)), (root/'labels.csv').read_text().splitlines()[1:]
    for round in range(3):
        report = verify(root)
        assert contents(root, aside) == was
        assert len(picture_files(root)) + len(picture_files(aside)) == pictures
        assert all(t.moved.is_file() and not t.file.exists() for t in report.unreadable + report.small)
        assert bool(report.unreadable + report.small) == (round == 0)
    assert len(read_labels(root)) == len(picture_files(root))
    assert sorted(rows) == sorted(t for d in (root, aside) for t in (d/'labels.csv').read_text().splitlines()[1:])
    read_labels(aside)

def test_verify_never_overwrites(folder):
    aside = folder.with_name(folder.name + '_set_aside')
    (folder/'labels.csv').write_text('file,labels,who\nboth/d.jpg,a;b,Ann\n"both/e, f.jpg",a,Bo\n')
    for n in range(3):
        (folder/'both'/'d.jpg').write_bytes(b'broken %d' % n)
        (folder/'labels.csv').write_text('file,labels,who\nboth/d.jpg,a;b,Ann\n"both/e, f.jpg",a,Bo\n')
        [t] = verify(folder).unreadable
        assert t.moved.read_bytes() == b'broken %d' % n
    assert sorted(f.name for f in (aside/'both').iterdir()) == ['d (2).jpg', 'd (3).jpg', 'd.jpg']
    assert (aside/'labels.csv').read_text() == 'file,labels,who\nboth/d.jpg,a;b,Ann\nboth/d (2).jpg,a;b,Ann\nboth/d (3).jpg,a;b,Ann\n'
    assert (folder/'labels.csv').read_text() == 'file,labels,who\n"both/e, f.jpg",a,Bo\n'

def test_verify_that_moves_nothing(folder):
    (folder/'grizzly'/'a.jpg').write_text('no')
    (folder/'readme.txt').write_text('hello')
    was = contents(folder)
    report = verify(folder, move=False, min_side=130)
    assert contents(folder) == was and not folder.with_name(folder.name + '_set_aside').exists()
    assert len(report.unreadable) == 1 and len(report.small) == 4 and report.not_pictures == [folder/'readme.txt'] and report.checked == 5
    assert all(t.moved is None for t in report.unreadable + report.small)
    assert 'grizzly/a.jpg' in str(report) and '<td>' in report._repr_html_()

def test_verify_after_being_killed_between_photographs_and_table(folder, monkeypatch):
    (folder/'labels.csv').write_text('file,labels\nboth/d.jpg,a;b\n')
    (folder/'both'/'d.jpg').write_text('no')
    with monkeypatch.context() as m:
        m.setattr(manifest, '_move_rows', lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt): verify(folder)
    with pytest.raises(DataError, match='does not exist'): read_labels(folder)
    report = verify(folder)
    assert report.unreadable == [] and len(read_labels(folder)) == 4
    assert (folder.with_name(folder.name + '_set_aside')/'labels.csv').read_text() == 'file,labels\nboth/d.jpg,a;b\n'

def test_verify_reports_a_row_whose_file_is_gone(folder):
    (folder/'labels.csv').write_text('file,labels\nboth/gone.jpg,a\nboth/d.jpg,b\n')
    report = verify(folder)
    assert [(t.file.name, t.moved) for t in report.unreadable] == [('gone.jpg', None)]
    assert 'does not exist' in report.unreadable[0].reason and 'gone.jpg' in (folder/'labels.csv').read_text()

def test_verify_goes_on_where_it_cannot_move(folder, monkeypatch):
    for f in ('a.jpg', 'b.jpg'): (folder/'grizzly'/f).write_text('no')
    folder.with_name(folder.name + '_set_aside').write_text('a file in the way')
    was = contents(folder)
    report = verify(folder)
    assert contents(folder) == was and len(report.unreadable) == 2 and all('could not be moved' in t.reason for t in report.unreadable)

def test_verify_onto_another_disk(folder, monkeypatch):
    import errno
    (folder/'grizzly'/'a.jpg').write_text('no')
    real = os.replace
    def replace(a, b):
        if Path(a).suffix == '.jpg': raise OSError(errno.EXDEV, 'Invalid cross-device link')
        return real(a, b)
    monkeypatch.setattr(os, 'replace', replace)
    [t] = verify(folder).unreadable
    assert t.moved.read_text() == 'no' and not t.file.exists()

def test_verify_finds_duplicates_across_labels(folder):
    shutil.copy(folder/'grizzly'/'a.jpg', folder/'black bear'/'same.jpg')
    photo(1).save(folder/'black bear'/'alike.png')
    report = verify(folder)
    assert [([f.name for f in d.files], d.labels) for d in report.exact] == [(['same.jpg', 'a.jpg'], ['black bear', 'grizzly'])]
    assert [([f.name for f in d.files], d.labels) for d in report.near] == [(['alike.png', 'b.jpg'], ['black bear', 'grizzly'])]
    assert report.across == report.exact + report.near

def test_verify_bad_folders(tmp_path, folder):
    with pytest.raises(DataError): verify(tmp_path/'nothing')
    (tmp_path/'empty').mkdir()
    assert verify(tmp_path/'empty').checked == 0
    (folder/'labels.csv').write_text('nonsense\n')
    with pytest.raises(DataError, match='columns'): verify(folder)

# ---- training's first look, and the summary

def test_check_trainable(folder):
    with pytest.raises(DataError, match='"?black bear"? has only one') as e: data.check_trainable(read_labels(folder))
    one_sentence(e)
    shutil.copy(folder/'grizzly'/'a.jpg', folder/'black bear')
    data.check_trainable(read_labels(folder))
    (folder/'grizzly'/'b.jpg').write_text('no')
    with pytest.raises(DataError, match='1 of 6 pictures .*b.jpg') as e: data.check_trainable(read_labels(folder))
    one_sentence(e)
    with pytest.raises(DataError, match='exactly one'): data.check_trainable([*read_labels(folder), Labelled(folder/'grizzly'/'a.jpg', ())], single=True)
    with pytest.raises(DataError, match='same label'): data.check_trainable(read_labels(folder)[-2:])

def test_summary(folder):
    (folder/'labels.csv').write_text('file,labels\nboth/d.jpg,grizzly;black bear\n"both/e, f.jpg",\n')
    s = data.summary(folder)
    assert (s.pictures, s.several, s.none) == (5, 1, 1)
    assert [tuple(l) for l in s.labels] == [('black bear', 2, .4, (160, 120)), ('grizzly', 3, .6, (160, 120))]
    assert 'black bear         2  40.0%    160 x 120' in str(s) and '<td>60.0%</td>' in s._repr_html_()
    (folder/'grizzly'/'a.jpg').write_text('no')
    with pytest.raises(PictureError, match='a.jpg'): data.summary(folder)

# ---- the house's rule

def test_import_is_light():
    heavy = ('torch', 'fastai', 'pandas', 'matplotlib', 'numpy', 'requests', 'flickrapi', 'pillow_heif', 'tqdm', 'IPython', 'fastcore')
    code = f'import sys, time; t = time.perf_counter(); import bearclf.data; print(time.perf_counter() - t); print([m for m in {heavy!r} if m in sys.modules])'
    took, loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert loaded == '[]' and float(took) < 1  # some tens of milliseconds; the rest is room for a busy machine
