"""step.c as a training step of a Model: compiled when first used, called through ctypes."""
import ctypes
import pathlib
import subprocess
import tempfile

import torch

SOURCE = pathlib.Path(__file__).with_name("step.c")


def library():
    out = pathlib.Path(tempfile.mkdtemp()) / "step.so"
    subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", SOURCE, "-o", out, "-lm"], check=True)
    lib = ctypes.CDLL(str(out))
    lib.step_new.restype = ctypes.c_void_p
    lib.step_run.restype = ctypes.c_double
    return lib


def pointers(tensors):
    assert all(t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
    return (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))


class Step:
    """Gradients of model for up to `most` tokens at a time, added to its parameters' .grad."""
    def __init__(self, model, most):
        self.lib, self.most = library(), most
        self.params = [p for b in model.blocks for p in b.parameters()] + [model.embed.weight, model.norm.weight]
        self.handle = self.lib.step_new(len(model.blocks), most, model.c.context)
        if not self.handle:
            raise RuntimeError("step.c needs a processor with AMX (bfloat16) and a kernel that allows it")
        for p in self.params:
            p.grad = torch.zeros_like(p)

    def weights(self):
        """Takes the parameters as they are now; call it after every change."""
        self.lib.step_weights(ctypes.c_void_p(self.handle), pointers([p.data for p in self.params]))

    def run(self, ids, targets, scale, drop=0.0):
        """The summed loss of ids, targets [rows][length]; the gradients of scale times it are added."""
        rows, length = ids.shape
        assert length % 32 == 0 and rows * length <= self.most
        ids, targets = ids.int().contiguous(), targets.int().contiguous()
        return self.lib.step_run(ctypes.c_void_p(self.handle), rows, length, ctypes.c_void_p(ids.data_ptr()),
                                 ctypes.c_void_p(targets.data_ptr()), ctypes.c_float(scale),
                                 ctypes.c_float(drop),
                                 pointers([p.grad for p in self.params]))
