"""Evaluation: whole episodes of the real game."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smallwm_tf.agents.look_ahead import scored_agent
from smallwm_tf.agents.networks import Networks
from smallwm_tf.agents.playing import Episodes
from smallwm_tf.experiment.numbers import counted, with_error
from smallwm_tf.experiment.schedule import total_steps
from smallwm_tf.figures.curves import draw_scores
from smallwm_tf.judging.evaluation import evaluate
from smallwm_tf.judging.null_policies import num_null_episodes, score_null_policies
from smallwm_tf.runs import scores
from smallwm_tf.runs.files import write_json
from smallwm_tf.runs.progress import Progress, say
from smallwm_tf.training.run import Run


@dataclass(frozen=True)
class EvaluationPlace:
    """Between two steps of an evaluation."""

    taken: np.ndarray  # actions of the steps so far, int32 [n, N games]
    played_with: dict  # settings of the games, which the actions belong to

    def __str__(self) -> str:
        return f"{counted(len(self.taken), 'step')} on"


class EvaluationPhase:
    """Scores the latest policy, every ``evaluation.interval`` iterations and after the last one."""

    name = "evaluate"
    place_type = EvaluationPlace
    trains_policy = False

    def __init__(self, networks: Networks):
        self._networks = networks

    def perform(self, run: Run, iteration: int) -> None:
        config = run.experiment.config
        is_last = iteration == config.collection.num_iterations
        if iteration % config.evaluation.interval and not is_last:
            return
        name, directory = run.experiment.game.name, run.directory
        null_policies = directory.path / "null_policies.json"
        if not null_policies.exists():
            write_json(null_policies, self._score_nulls(run, iteration))
        nulls = scores.read_summaries(null_policies)
        episodes, num_steps = self._play(run, iteration), total_steps(config, iteration)
        entry = scores.evaluation_entry(name, iteration, num_steps, episodes.returns)
        entries = [e for e in scores.read_scores(directory.scores) if e["iteration"] < iteration]
        entries.append(entry | {"lengths": episodes.lengths})
        scores.write_scores(directory.scores, entries)
        measures = {"mean_return": entry["mean"], "std_return": entry["std"]}
        measures["mean_length"] = float(np.mean(episodes.lengths))
        run.metrics.write("evaluate", iteration, num_steps, **measures)
        draw_scores(directory.figures, name, entries, nulls)
        best = scores.best_null_policy(nulls)
        of_what = ", standard error over" if entry["standard_error"] else " in all of"
        say(
            f"{name}, iteration {iteration}: "
            f"{with_error(entry['mean'], entry['standard_error'])}{of_what} "
            f"{counted(entry['num_episodes'], 'episode')}; best null policy: {best}, "
            f"{with_error(nulls[best]['mean'], nulls[best].get('standard_error'))}"
        )

    def _score_nulls(self, run: Run, iteration: int) -> dict[str, Any]:
        """Plays without looking; what was played is lost where the run is asked to stop."""
        total, title = num_null_episodes(run.experiment), f"{iteration}: null policies, random ones"
        with Progress(total, title, "episode") as progress:

            def check_and_update(num_finished: int) -> None:
                run.stop.check()
                progress.update(num_finished)

            return score_null_policies(run.experiment, on_episodes=check_and_update)

    def _play(self, run: Run, iteration: int) -> Episodes:
        """Plays the episodes, from where they were interrupted on."""
        config, place = run.experiment.config, run.place
        played_with: dict[str, Any] = {**config.evaluation.to_dict(), **config.game.to_dict()}
        goes_on = place is not None and place.played_with == played_with
        taken = list(place.taken) if goes_on else []
        num_episodes = config.evaluation.num_episodes
        with Progress(num_episodes, f"{iteration}: evaluate", "episode") as progress:

            def update_and_pause(num_finished: int) -> None:
                progress.update(num_finished)
                if run.is_to_pause():
                    run.pause(EvaluationPlace(np.array(taken), played_with))

            agent = scored_agent(self._networks, config, config.evaluation.temperature)
            return evaluate(run.experiment, agent, iteration, update_and_pause, taken)
