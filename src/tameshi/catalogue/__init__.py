"""The papers: facts, our own summaries in two languages, claims. Data, and the loader; imports nothing of ours."""

from tameshi.catalogue.paper import Bilingual, CatalogueError, Claim, Code, Paper, load, paper, papers

__all__ = ["Bilingual", "CatalogueError", "Claim", "Code", "Paper", "load", "paper", "papers"]
