"Answers made up, for the tests of evaluate and single_vs_multi."
import numpy as np

from bearclf.evaluate import Said
from bearclf.pictures import OTHER

LABELS = ['black_bear', 'grizzly', OTHER]
BLACK, GRIZZLY, NONE, BOTH, SILENT = ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0])

def said(targets, called, probs=None, folders=None):
    called = np.array(called, bool).reshape(-1, 3)
    return Said(LABELS, called.astype(float) if probs is None else np.array(probs, float), called, np.array(targets, bool).reshape(-1, 3),
                np.array(folders if folders is not None else ['']*len(called), str))
