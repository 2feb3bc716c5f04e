"""An agent whose actions are known before, with a memory of its episode."""

import numpy as np


class ScriptedAgent:
    """Counts the steps of its episode, plays that count modulo 3, and notes what it is asked.

    Args:
      remembers: without a memory it plays the number of the step modulo 3.
    """

    def __init__(self, remembers=True):
        self.remembers, self.asked = remembers, []

    def begin(self, num_games):
        return {"count": np.zeros([num_games], int)} if self.remembers else ()

    def act(self, observations, state, seed, step):
        counts = state["count"] if self.remembers else np.full([len(observations)], step)
        self.asked.append((observations.copy(), counts.tolist(), tuple(seed), step))
        return (counts % 3).astype(np.int32), {"count": counts + 1} if self.remembers else ()
