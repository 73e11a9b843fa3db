"""What one could take instead of a trained model: a backbone with ImageNet's own thousand classes, its first choice."""
import timm, torch

from bearclf.export import update_card
from bearclf.features import to_onnx
from bearclf.inference import CARD_FORMAT
from bearclf.multilabel import ARCH, packaged_weights
from bearclf.pictures import KINDS

CLASSES = dict(black_bear=295, grizzly=294, teddys=850)  # of ImageNet
SIDE = 256


class FirstChoice(torch.nn.Module):
    "A logit for each kind: high where its class is the first choice among the thousand, else low."
    def __init__(self, net):
        super().__init__()
        self.net, self.classes = net, [CLASSES[k] for k in KINDS]
    def forward(self, x):
        z = self.net(x)
        return 20*(z[:, self.classes] >= z.amax(1, keepdim=True)).float() - 10


def write_bare(path, arch=ARCH):
    "Write the backbone `arch` as a model file that answers as any other does."
    net = timm.create_model(arch)
    net.load_state_dict(packaged_weights(arch))
    to_onnx(FirstChoice(net), dict(image=(3, SIDE, SIDE)), path, ['logits'])
    update_card(path, format=CARD_FORMAT, name=f'bare {arch}', arch=arch, labels=list(KINDS), multi_label=True,
                thresholds=dict.fromkeys(KINDS, .5), mean=[.5]*3, std=[.5]*3, resize=[SIDE]*2, size=[SIDE]*2)
    return path
