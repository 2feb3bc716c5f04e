"""The real games: one, and a batch of them.

Importing this package registers the project's own game with Gymnasium. It imports no
TensorFlow, so a misspelt game can be refused within a second.
"""

import gymnasium

CATCH_ID = "SmallWM/Catch-v0"

if CATCH_ID not in gymnasium.registry:
    gymnasium.register(id=CATCH_ID, entry_point="smallwm_tf.games.catch:Catch")
