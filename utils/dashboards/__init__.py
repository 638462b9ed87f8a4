"""Dashboards: all that one wants to know about latents, from one pass over a text.

    dashboards = collect(loaded, sae, rows, latents=[3, 7], checkpoint="run.safetensors")
    write_page(dashboards, "page.html")              # one file, no network
    write_data(dashboards, "data.json")              # the numbers (utils.dashboards.data)
    write_neuronpedia(dashboards, "folder")          # batch-0.json, …

For SAEs, attention SAEs (on z) and transcoders of any model behind `TransformerBridge`.
`make dashboard` does the same from the command line.
"""  # fmt: skip

from utils.dashboards.collect import collect
from utils.dashboards.data import write_data
from utils.dashboards.neuronpedia import write_neuronpedia
from utils.dashboards.page import write_page
from utils.dashboards.result import Dashboards, Example, Group, Latent, Partner
from utils.dashboards.settings import DashboardError, Settings

__all__ = [
    "DashboardError",
    "Dashboards",
    "Example",
    "Group",
    "Latent",
    "Partner",
    "Settings",
    "collect",
    "write_data",
    "write_neuronpedia",
    "write_page",
]
