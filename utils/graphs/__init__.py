"""Attribution graphs: which latents of earlier layers a latent, or a word, is made of.

frozen = freeze(loaded, tokens)         one prompt; what is not linear is held still
graph = attribute(frozen, transcoders)  nodes, and how much each gives to each later one
influence(graph), pruned(graph)         what matters to the output, directly or not
"""

from utils.graphs.attribute import attribute
from utils.graphs.frozen import Frozen, GraphError, freeze
from utils.graphs.graph import Graph, Node
from utils.graphs.influence import influence, pruned, scores
from utils.graphs.intervene import effects, intervene
from utils.graphs.page import write_page
from utils.graphs.viewer import read_viewer, write_viewer

__all__ = [
    "Frozen",
    "Graph",
    "GraphError",
    "Node",
    "attribute",
    "effects",
    "freeze",
    "influence",
    "intervene",
    "pruned",
    "read_viewer",
    "scores",
    "write_page",
    "write_viewer",
]
