"A tiny ONNX network whose answers can be worked out by hand, for tests."
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# One label for what is red, one for what is green, one for what is bright in each quarter of the picture.
LABELS = ['red', 'green', 'top_left', 'top_right', 'bottom_left', 'bottom_right']
SIDE, CROP = 72, 64
GAIN = 12


def card(**changes):
    "The card of `tiny_model` with `changes`; a field set to None is left out."
    res = dict(format=1, name='tiny', labels=LABELS, multi_label=True, thresholds=dict.fromkeys(LABELS, .5), mean=[.5]*3, std=[.25]*3,
               resize=[SIDE, SIDE], size=[CROP, CROP], arch='tiny', data={}, scores={}, created='2026-11-23T00:00:00Z', version='0.1.0',
               command='tests') | changes
    return {k: v for k, v in res.items() if v is not None}


def logits(rgb, mean=.5, std=.25):
    "What the network gives for a (CROP, CROP, 3) array of 0 to 1: the tests' own arithmetic."
    x, h = (np.asarray(rgb, float)-mean)/std, CROP//2
    quarters = [x[a:a+h, b:b+h].mean((0, 1)) for a in (0, h) for b in (0, h)]
    red, green, blue = np.mean(quarters, 0)
    return np.array([red-(green+blue)/2, green-(red+blue)/2, *(q.mean()-np.mean(quarters) for q in quarters)])*GAIN - 5


def tiny_model(file, card=card(), *, text=None, n_out=None, input='image', output='logits', type=TensorProto.FLOAT, n='n', side=CROP,
               out_type=TensorProto.FLOAT, bias=-5., maps=False):
    """Write the network to `file` with `card` (or `text` in its place; neither if both are None) and return `file`. With `maps` it has the second output
    `evidence`, a value for each label and quarter, whose mean over the quarters is the logit."""
    half = (side if isinstance(side, int) else CROP)//2
    w = np.zeros((3, 4, 6))  # colours, quarters, labels
    for label, colour in ((0, 0), (1, 1)):
        w[:, :, label] = -1/8
        w[colour, :, label] = 1/4
    for q in range(4): w[:, :, 2+q] = (np.eye(4)[q]-1/4)/3
    parts = w.astype(np.float32)*4*GAIN
    w = w.reshape(12, 6)*GAIN
    if n_out: w = w[:, :n_out]
    nodes = [helper.make_node('Cast', [input], ['x'], to=TensorProto.FLOAT),
             helper.make_node('AveragePool', ['x'], ['pooled'], kernel_shape=[half]*2, strides=[half]*2),
             helper.make_node('Flatten', ['pooled'], ['flat']),
             helper.make_node('Gemm', ['flat', 'w', 'b'], ['y']),
             helper.make_node('Cast', ['y'], [output], to=out_type)]
    outputs = [helper.make_tensor_value_info(output, out_type, None)]
    weights = [numpy_helper.from_array(w.astype(np.float32), 'w'), numpy_helper.from_array(np.full(w.shape[1], bias, np.float32), 'b')]
    if maps:
        nodes += [helper.make_node('Reshape', ['pooled', 'quarters'], ['q']), helper.make_node('Einsum', ['q', 'by_quarter'], ['e'], equation='ncq,cql->nlq'),
                  helper.make_node('Add', ['e', 'column'], ['f']), helper.make_node('Reshape', ['f', 'grid'], ['evidence'])]
        outputs.append(helper.make_tensor_value_info('evidence', TensorProto.FLOAT, [n, 6, 2, 2]))
        weights += [numpy_helper.from_array(a, k) for k, a in dict(quarters=np.array([0, 3, 4]), by_quarter=parts, grid=np.array([0, 6, 2, 2]),
                                                                   column=np.full((6, 1), bias, np.float32)).items()]
    graph = helper.make_graph(nodes, 'tiny', [helper.make_tensor_value_info(input, type, [n, 3, side, side])], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    if text is None and card is not None: text = json.dumps(card)
    if text is not None: helper.set_model_props(model, {'bearclf': text})
    onnx.save(model, str(file))
    return file


COMPANY = dict(thresholds=dict.fromkeys(LABELS, .5), weights=[0., 1., 0., 0.], bias=0., closer=[1., 0., 0.])  # where the second label reaches its threshold


def two_voices(file, whole='Identity', company=COMPANY, **changes):
    "`tiny_model` with maps, whose whole says the same, or what the operator `whole` makes of it."
    fields = card(thresholds=dict.fromkeys(LABELS, .5), resize=[CROP, CROP], company=company)
    model = onnx.load(tiny_model(file, fields, maps=True, **changes))
    model.graph.node.append(helper.make_node(whole, ['logits'], ['whole']))
    model.graph.output.append(helper.make_tensor_value_info('whole', TensorProto.FLOAT, ['n', len(LABELS)]))
    onnx.save(model, str(file))
    return file
