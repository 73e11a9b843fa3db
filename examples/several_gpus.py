"""Fine-tune the recipe of 01 on several GPUs, or on several machines: fastai's own context, over accelerate.

    pip install 'bearclf[train]' accelerate
    accelerate launch --num_processes 2 examples/several_gpus.py images

Each process holds the network and takes its part of each batch; gradients are averaged. `bearclf train` needs none of this: it
trains a small head on what a still backbone has seen, which takes a minute on two cores.

With `--check` no network is trained: the gradients of one batch, dealt over the processes, are compared with those of one process
that sees all of it. Two processes without a GPU: `torchrun --nproc_per_node 2 examples/several_gpus.py images --check --cpu`."""
import argparse, os, sys

import torch
from fastai.vision.all import Callback, CancelFitException, DataLoaders, rank_distrib, set_seed
from fastai.distributed import DistributedDL

from bearclf.data import read_labels
from bearclf.multilabel import bear_dataloaders, bear_learner

class Gradients(Callback):
    """Keep the gradients of the first batch, and end there. Nothing is dropped by chance, and the head's batch normalisation keeps its
    statistics: those of half a batch differ (on GPUs fastai lets the processes share them, which torch can't do without)."""
    order = 90
    def before_train(self): self.model.eval()
    def after_backward(self):
        net = getattr(self.learn.model, 'module', self.learn.model)
        self.kept = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        raise CancelFitException

def gradients(dls, bs, distributed):
    "Those of the pictures that are held aside, not augmented, in one batch of `bs` a process."
    dl = dls.valid.new(bs=bs, shuffle=False)
    set_seed(42)
    learn, keep = bear_learner(DataLoaders(dl, dl), loss_func=dls.loss_func), Gradients()
    learn.unfreeze()
    if distributed:
        with learn.distrib_ctx(sync_bn=False): learn.fit(1, cbs=keep)
    else: learn.fit(1, cbs=keep)
    return keep.kept

def check(pictures):
    "Exit code 0 if the gradients of all processes together are those of one."
    n = int(os.environ.get('WORLD_SIZE', 1))
    dls = bear_dataloaders(pictures[:20] + pictures[:8*n], split=(list(range(20)), list(range(20, 20 + 8*n))), bs=8)
    together, alone = gradients(dls, 8, True), gradients(dls, 8*n, False)
    whole = torch.cat([g.flatten() for g in alone.values()])
    differ = (torch.cat([together[k].flatten() for k in alone]) - whole).norm()/whole.norm()
    if rank_distrib() == 0: print(f'{len(whole):,} gradients of {n} processes differ from those of one by {differ:.0e} of their length')
    return int(differ > 1e-3)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('images', help='folder of labelled pictures')
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--check', action='store_true', help='compare gradients instead')
    parser.add_argument('--cpu', action='store_true', help='without GPUs')
    args = parser.parse_args()
    if args.cpu:
        os.environ['ACCELERATE_USE_CPU'] = 'true'
        DistributedDL._broadcast = broadcast # fastai's own needs a GPU
    pictures = sorted(read_labels(args.images), key=lambda p: p.file.name)
    if args.check: return check(pictures)
    learn = bear_learner(bear_dataloaders(pictures))
    with learn.distrib_ctx(): learn.fine_tune(args.epochs)
    if rank_distrib() == 0: learn.save('several_gpus')
    return 0

def broadcast(self, idxs, rank):
    "`idxs` of the process `rank`, for all."
    t = torch.tensor(idxs)
    torch.distributed.broadcast(t, rank)
    return t.tolist()

if __name__ == '__main__': sys.exit(main())
