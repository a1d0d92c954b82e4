"""Planted truths: tiny networks whose way to the answer is known, judged by the instrument's own code.

`judge.judge_all` and `python -m engine.truths` say what the instrument finds beside what was planted. The lens,
the erasers, their random controls and kappa are those that judge the real models; nothing is written for here.
"""
