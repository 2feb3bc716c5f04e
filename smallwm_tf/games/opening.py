"""Opening the real game of an experiment: one copy, or many side by side."""

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.randomness import generator
from smallwm_tf.games.game_batch import GameBatch
from smallwm_tf.games.real_game import RealGame


def open_game(experiment: Experiment, *purpose: int | str) -> RealGame:
    """A copy of the run's game, not yet reset; `purpose` gives it random numbers of its own."""
    return RealGame(
        experiment.game,
        experiment.config.game.num_stacked_frames,
        game_seed(experiment.seed, *purpose),
        experiment.config.game,
    )


def open_games(experiment: Experiment, count: int, *purpose: int | str) -> GameBatch:
    """As `open_game`, but `count` copies to be played side by side."""
    return GameBatch(
        experiment.game,
        count,
        experiment.config.game.num_stacked_frames,
        game_seed(experiment.seed, *purpose),
        experiment.config.game,
    )


def game_seed(seed: int, *path: int | str) -> int:
    """Seed of one copy, or one batch, of the real game."""
    return int(generator(seed, "game", *path).integers(2**31))
