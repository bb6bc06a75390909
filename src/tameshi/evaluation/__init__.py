"""The evaluation wing: questions to a language model, and questions to the questions.

What all its papers share stands in the files of this folder: `asking` (one voice to any model, counted and capped),
`provider` (rule functions and models in memory as Inspect AI models), `readers` (answers, or why there is none),
`judge` (a grader that treats what it reads as data) and `nulls` (policies that must not score). Each paper has a
folder of its own.

What talks to a model needs `pip install 'tameshi[evaluation]'`; the readers and the statistics run without it.
"""
