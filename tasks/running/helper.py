"""A process that helps to make a result of a shared stage: `tasks.stage.helpers` starts it and sends it what to do."""

import importlib
import pickle
import sys

if __name__ == "__main__":
    module, name, params, inputs = pickle.load(sys.stdin.buffer)  # from our own parent process
    getattr(importlib.import_module(module), name)(params, **inputs)
