"Files that are no pictures, hostile ones, odd modes, links in circles, many threads."
import io, os, random, struct, subprocess, sys, warnings, zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, pytest
from PIL import Image

from bearclf import pictures
from bearclf.checks import verify
from bearclf.data import read_labels
from bearclf.pictures import CutShort, DataError, PictureError, open_picture, picture_files
from helpers import ODD, RED, encoded, one_sentence, photo, png, red

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
    assert open_picture(png(8, 8, b'\0\0'*8, extra=chunk)).size == (8, 8) # what it says of itself is not unpacked

def test_a_bomb_of_text_turns_no_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(red(), 'PNG', exif=exif)
    body = b'Comment\0\0' + zlib.compress(b'a'*80_000_000)
    chunk = struct.pack('>I', len(body)) + b'zTXt' + body + struct.pack('>I', zlib.crc32(b'zTXt' + body))
    assert open_picture(whole).size == open_picture(whole[:33] + chunk + whole[33:]).size == (30, 40)

@pytest.mark.parametrize('fmt', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF', 'JPEG2000', 'PPM'])
def test_cut_short_anywhere(fmt):
    whole = encoded(photo(), fmt)
    for share in (.02, .3, .6, .9):
        with pytest.raises(PictureError) as e: open_picture(whole[:int(len(whole)*share)], name='a.pic')
        one_sentence(e, 'a.pic')

@pytest.mark.parametrize('kw', [{}, {'progressive': True}, {'restart_marker_rows': 1}])
def test_half_a_jpeg_can_be_had(kw):
    im = photo(size=(640, 480))
    exif = Image.Exif()
    exif[0x0112] = 6
    for whole, turned in ((encoded(im, **kw), False), (encoded(im, exif=exif, **kw), True)):
        with pytest.raises(CutShort) as e: open_picture(whole[:len(whole)*6//10])
        one_sentence(e)
        rest, full = e.value.rest, open_picture(whole)
        assert rest.size == full.size if 'progressive' in kw else rest.size < full.size
        box = (full.width - rest.width, 0, full.width, rest.height) if turned else (0, 0, *rest.size) # the top of what was stored
        there, want = (np.asarray(o.resize((40, 30)), float) for o in (rest, full.crop(box)))
        assert np.abs(there - want).mean() < 12
        assert e.value.note.startswith('This file is cut short') and 'from what is there' in e.value.note
    with pytest.raises(PictureError) as e: open_picture(whole[:len(whole)//10])
    assert 'progressive' in kw or not isinstance(e.value, CutShort)

def test_what_counts_is_what_is_decoded(monkeypatch):
    monkeypatch.setattr(pictures, 'MAX_PIXELS', 100_000)
    wide = Image.new('L', (1000, 300), 120)
    assert open_picture(encoded(wide), at_least=100).size == (500, 150)
    for refused in (encoded(wide, progressive=True), encoded(wide, 'PNG'), encoded(Image.new('L', (2000, 300)))): # the last one is five times too large
        with pytest.raises(PictureError, match='100,000 pixels'): open_picture(refused, at_least=100)
    with pytest.raises(PictureError, match='100,000 pixels'): open_picture(encoded(wide))

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
    with pytest.raises(PictureError, match='leads nowhere'): open_picture(tmp_path/'dangling.jpg')
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

def test_names_of_all_scripts_are_shown_as_they_are():
    for name in ('写真\u30001.jpg', 'Screenshot at 9.41.00\u202fAM.png', 'می\u200cخواهم.jpg', '👩\u200d🌾.jpg', 'a\u00a0b.jpg'):
        assert pictures.shown(name) == name
    for odd in ('\n', '\x1b', '\x9b', '\u2028', '\u202e', '\u2066', '\u200b', '\ufeff', '\udce4'): assert pictures.shown(f'a{odd}b') == 'a?b'

@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_the_bits_that_a_camera_uses_of_sixteen(bits):
    deep = Image.fromarray((np.linspace(0, 2**bits - 1, 64*64).reshape(64, 64)).astype(np.uint16))
    values = np.asarray(open_picture(encoded(deep, 'TIFF')))
    assert values.min() == 0 and values.max() == 255 and 126 <= values.mean() <= 129
    assert np.asarray(open_picture(encoded(deep, 'PNG'))).max() == round(255*(2**bits - 1)/65535)

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

def test_the_page_knows_what_a_system_puts_into_folders():
    script = pictures.static('page/pictures.js')
    for name in pictures._SYSTEM: assert f"'{name}'" in script

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

def test_the_error_of_another_file_is_not_told_of_the_one_to_write(tmp_path):
    with pytest.raises(FileNotFoundError), pictures.whole_file(tmp_path/'a.csv'): open(tmp_path/'gone')
    assert not [*tmp_path.iterdir()]

def test_a_folder_that_can_not_be_replaced_stays(tmp_path, monkeypatch):
    (tmp_path/'site').mkdir()
    (tmp_path/'site'/'old').touch()
    replace = os.replace
    def refuse(a, b):
        if Path(a).name == 'new': raise PermissionError(13, 'Permission denied')
        replace(a, b)
    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(PermissionError), pictures.whole_folder(tmp_path/'site') as part: (part/'new').touch()
    assert [f.name for f in tmp_path.rglob('*')] == ['site', 'old']

def test_what_a_living_process_writes_is_left(tmp_path):
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    for process in (os.getpid(), dead.pid): (tmp_path/f'.bears.onnx.{process}-1.part').touch()
    pictures.remove_parts(tmp_path)
    assert len([*tmp_path.iterdir()]) == 2 # written to just now
    pictures.remove_parts(tmp_path, after=-1)
    assert [f.name for f in tmp_path.iterdir()] == [f'.bears.onnx.{os.getpid()}-1.part']

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

def test_import_is_light():
    heavy = ('torch', 'fastai', 'pandas', 'matplotlib', 'numpy', 'requests', 'flickrapi', 'pillow_heif', 'tqdm', 'IPython', 'fastcore')
    code = f'import sys, bearclf.data; print([m for m in {heavy!r} if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
