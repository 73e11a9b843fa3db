"""How many altered copies, and how many strangers, does each distance of `near_duplicates` call the same photograph?

    python benchmarks/duplicates.py ../shared/photos/images ../shared/photos/pool

Writes benchmarks/results/duplicates.json. The table in nbs/15_checks.ipynb comes from it."""
import io, itertools, json, shlex, sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance

from bearclf.checks import phash
from bearclf.pictures import open_picture, picture_files, threaded

def again(im, fmt, quality):
    f = io.BytesIO()
    im.save(f, fmt, quality=quality)
    return open_picture(f.getvalue())

def trim(im, share):
    w, h = im.size
    return im.crop((int(w*share), int(h*share), w - int(w*share), h - int(h*share)))

def watermark(im):
    im, (w, h) = im.copy(), im.size
    d = ImageDraw.Draw(im)
    d.rectangle((.55*w, .9*h, w, h), fill='white')
    d.text((.6*w, .92*h), '(c) photo', fill='black')
    return im

WAYS = {
    'JPEG, quality 60': lambda im: again(im, 'JPEG', 60), 'JPEG, quality 25': lambda im: again(im, 'JPEG', 25),
    'WebP, quality 60': lambda im: again(im, 'WEBP', 60), 'half the size': lambda im: im.resize((im.width//2, im.height//2), Image.BICUBIC),
    'height x 0.85': lambda im: im.resize((im.width, int(im.height*.85))), 'trimmed by 2 % a side': lambda im: trim(im, .02),
    'trimmed by 4 % a side': lambda im: trim(im, .04), 'trimmed by 7 % a side': lambda im: trim(im, .07),
    'brightness x 1.3': lambda im: ImageEnhance.Brightness(im).enhance(1.3), 'brightness x 0.7': lambda im: ImageEnhance.Brightness(im).enhance(.7),
    'contrast x 1.3': lambda im: ImageEnhance.Contrast(im).enhance(1.3), 'grey': lambda im: im.convert('L'), 'watermark': watermark}

def measure(file):
    im = open_picture(file)
    return phash(im), [phash(way(im)) for way in WAYS.values()]

def main(folders):
    files = [f for folder in folders for f in picture_files(folder)]
    hashes, copies = zip(*(o for o in threaded(measure, files) if None not in (o[0], *o[1]))) # blank ones have no hash
    pairs = [(a ^ b).bit_count() for a, b in itertools.combinations(hashes, 2)]
    off = {way: [(h ^ c[i]).bit_count() for h, c in zip(hashes, copies)] for i, way in enumerate(WAYS)}
    found = lambda ds, bits: round(sum(d <= bits for d in ds)/len(ds), 4)
    rows = [dict(bits=bits, pairs_of_originals=sum(d <= bits for d in pairs), copies=found(sum(off.values(), []), bits),
                 **{way: found(ds, bits) for way, ds in off.items()}) for bits in range(0, 18, 2)]
    res = dict(command=shlex.join(['python', *sys.argv]), pictures=len(hashes), rows=rows)
    out = Path(__file__).with_name('results')/'duplicates.json'
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(res, indent=1) + '\n')
    for r in rows: print(*(f'{k} {v}' for k, v in r.items()), sep=' | ')

if __name__ == '__main__': main(sys.argv[1:])
