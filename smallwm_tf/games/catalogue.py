"""Names of games: from what a person types to the Gymnasium environment that is meant.

This module imports no TensorFlow: a wrong name is refused before anything heavy is loaded.
"""

import contextlib
import difflib
import importlib
import io
import itertools
import re
import textwrap

import gymnasium

from smallwm_tf.experiment.experiment import Game
from smallwm_tf.experiment.messages import one_line, show
from smallwm_tf.games import CATCH_ID
from smallwm_tf.games.faults import GameFaultError, mend

TABLE_4_GAMES = (
    "Alien", "Amidar", "Assault", "Asterix", "Asteroids", "Atlantis", "BankHeist", "BattleZone",
    "BeamRider", "Bowling", "Boxing", "Breakout", "ChopperCommand", "CrazyClimber", "DemonAttack",
    "FishingDerby", "Freeway", "Frostbite", "Gopher", "Gravitar", "Hero", "IceHockey", "Jamesbond",
    "Kangaroo", "Krull", "KungFuMaster", "MsPacman", "NameThisGame", "Pong", "PrivateEye", "Qbert",
    "Riverraid", "RoadRunner", "Seaquest", "UpNDown", "YarsRevenge",
)  # fmt: skip
"""The 36 games of the paper's Table 4, under the names used there."""

# What an Atari id may set since every Atari game is played so, or since pixels do not depend on it.
_PLAIN: dict[str, tuple | None] = {
    "game": None,
    "obs_type": ("rgb", "grayscale"),
    "render_mode": None,
    "mode": (None,),  # 0 is not every game's own
    "difficulty": (None,),
    "full_action_space": (False,),
    "repeat_action_probability": (0, 0.0),
    "frameskip": (4,),
    "max_num_frames_per_episode": (None, 0, 108_000),
    "max_episode_steps": (None,),
    "continuous": (False,),
    "continuous_action_threshold": None,
    "sound_obs": (False,),
}
# And what ale-py's own ids set besides, which are names of the plain game here.
_ALES = {"repeat_action_probability": (0.0, 0.25), "frameskip": None}
_FLAGS = {  # what sets it instead
    "repeat_action_probability": " with --config.game.sticky_action_probability",
    "frameskip": " with --config.game.frame_skip",
    "max_num_frames_per_episode": " with --config.game.max_episode_steps",
    "max_episode_steps": " with --config.game.max_episode_steps",
}
_ATARI_ENTRY_POINT = "ale_py.env:AtariEnv"
_INSTALL_ALE = "python -m pip install 'ale-py>=0.11'"
_KNOWN = (
    f"give one of the {len(TABLE_4_GAMES)} games of the paper's Table 4 "
    f"({TABLE_4_GAMES[0]} ... {TABLE_4_GAMES[-1]}), Catch, or a registered Gymnasium id"
)


class UnknownGameError(ValueError):
    """No game has this name. The message is one line: the value and the nearest names."""


class MissingGameError(UnknownGameError):
    """The game is known, but its emulator or ROM is not installed."""


def resolve_game(name: str) -> Game:
    """Finds the game that a name means.

    Understood are the names of Table 4, "Catch", the other Atari games of ale-py, and the id
    of any other registered Gymnasium environment; "module:Id-v0" imports `module` first, as
    `gymnasium.make` does. Case, spaces, underscores and hyphens do not matter. Every id that
    ale-py gives an Atari game means the game itself: frame skipping and sticky actions are this
    project's (`RealGame`), not those of the id; an id of somebody's own that sets more than the
    game is refused. The ROM of a game that is returned is installed and intact.

    Raises:
        UnknownGameError: No such game; the message gives the nearest names.
        MissingGameError: ale-py, the ROM, or the named module cannot be loaded.
    """
    if not isinstance(name, str) or not _normalise(name):
        raise UnknownGameError(f"game={show(name)} is not the name of a game; {_KNOWN}")
    ale_problem = _import_problem("ale_py")  # importing it registers the Atari games
    module, _, wanted = name.rpartition(":")
    if module and (error := _import_problem(module)):
        is_missing = isinstance(error, ModuleNotFoundError) and error.name in _parents(module)
        raise MissingGameError(
            f"game={show(name)}: importing {show(module)} failed ({one_line(error)}); "
            + ("install it or put it on PYTHONPATH" if is_missing else mend("it", error))
        )
    games = _known_games(module)
    key = _normalise(wanted)
    if key not in games:
        raise UnknownGameError(f"game={show(name)} is not known; {_nearest(key, games, module)}")
    if games[key].is_atari:
        _check_plain(name, key, games[key])
        _check_rom(games[key], ale_problem)
    return games[key]


def registered_game(name: str) -> Game:
    """As `resolve_game`, for names that files hold: imports no module that the name asks for.

    Raises:
        UnknownGameError, MissingGameError: As `resolve_game`; "module:Id-v0" is never known.
    """
    if ":" in name:
        raise UnknownGameError(f"game={show(name)}: only --game may ask for an import")
    return resolve_game(name)


def cannot_open(game: Game, error: Exception) -> MissingGameError | GameFaultError:
    """An error to raise for a game that is known but fails to open."""
    text = f"game={game.name} cannot be opened ({one_line(error)}); "
    if game.is_atari:
        return MissingGameError(f"{text}run: {_INSTALL_ALE}")
    return GameFaultError(text + mend("the environment", error))


def _normalise(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _import_problem(module: str) -> BaseException | None:
    """Imports a module; returns why it failed, or None."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a broken binary raises more than ImportError
        return error
    return None


def _parents(module: str) -> list[str]:
    """ "a.b.c" -> "a", "a.b", "a.b.c"."""
    return list(itertools.accumulate(module.split("."), "{}.{}".format))


def _known_games(module: str = "") -> dict[str, Game]:
    """Normalised name -> game, for every name that is understood."""
    games: dict[str, Game] = {}
    for gymnasium_id, spec in sorted(gymnasium.registry.items()):
        if spec.entry_point == _ATARI_ENTRY_POINT:
            pascal = spec.kwargs["game"].title().replace("_", "")
            game = Game(pascal, f"ALE/{pascal}-v5", is_atari=True)
            if game.gymnasium_id not in gymnasium.registry:
                continue
            games[_normalise(pascal)] = game
        else:
            full_id = f"{module}:{gymnasium_id}" if module else gymnasium_id
            game = Game(re.sub("[/:]", "-", full_id), full_id, is_atari=False)
        games[_normalise(gymnasium_id)] = game
    for table_name in TABLE_4_GAMES:  # also when ale-py is missing
        game = Game(table_name, f"ALE/{table_name}-v5", is_atari=True)
        games[_normalise(table_name)] = games[_normalise(game.gymnasium_id)] = game
    games["catch"] = games[_normalise(CATCH_ID)] = Game("Catch", CATCH_ID, is_atari=False)
    return games


def _check_plain(name: str, key: str, game: Game) -> None:
    """Refuses an Atari id that asks for what would be dropped: another mode, sticky actions, ..."""
    for gymnasium_id, spec in gymnasium.registry.items():
        is_meant = gymnasium_id == game.gymnasium_id or _normalise(gymnasium_id) == key
        if not is_meant or spec.entry_point != _ATARI_ENTRY_POINT:
            continue
        is_ales = re.fullmatch(rf"{game.name}(NoFrameskip)?-v[04]|ALE/{game.name}-v5", gymnasium_id)
        plain = _PLAIN | (_ALES if is_ales else {})
        asked = dict(spec.kwargs, max_episode_steps=spec.max_episode_steps)
        if spec.additional_wrappers:
            asked["additional_wrappers"] = tuple(w.name for w in spec.additional_wrappers)
        for setting, value in asked.items():
            if setting in plain and (plain[setting] is None or value in plain[setting]):
                continue
            raise UnknownGameError(
                f"game={show(name)} asks for {setting}={show(value)}, which would be dropped; give "
                f"--game={game.name}{_FLAGS.get(setting, '')}, or register it with a function of "
                "your own as entry_point, then it is played as it is"
            )


def _check_rom(game: Game, ale_problem: BaseException | None) -> None:
    if ale_problem is not None:
        raise MissingGameError(
            f"game={game.name} needs ale-py, which cannot be loaded ({one_line(ale_problem)}); "
            f"run: {_INSTALL_ALE}"
        )
    from ale_py import roms

    spec = gymnasium.registry.get(game.gymnasium_id)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints when ALE_ROMS_DIR is set
            path = roms.get_rom_path(spec.kwargs["game"]) if spec else None
    except OSError as error:
        reason = " ".join(str(error).split())
        raise MissingGameError(
            f"game={game.name}: its ROM is missing or damaged ({reason}); unset ALE_ROMS_DIR, "
            f"or reinstall: {_INSTALL_ALE} --force-reinstall"
        ) from error
    if path is None:
        raise MissingGameError(
            f"game={game.name}: the installed ale-py does not have it; run: {_INSTALL_ALE} -U"
        )


def _nearest(key: str, games: dict[str, Game], module: str = "") -> str:
    """Names near `key`: of Atari games if any, else Gymnasium ids; behind a module these first."""
    # "alepongv5", "pongdeterministicv4": the trimmings of an id
    key = re.sub(r"^ale(?=.*v\d$)|(noframeskip|deterministic|ram)*v\d+$", "", key) or key
    preferred = {_normalise(name): name for name in (*TABLE_4_GAMES, "Catch")}
    preferred |= {_normalise(game.name): game.name for game in games.values() if game.is_atari}
    ids = [game.gymnasium_id for game in games.values() if not game.is_atari]
    others = {re.sub(r"v\d+$", "", _normalise(name.rpartition(":")[2])): name for name in ids}
    tables = (preferred, others)
    for names in reversed(tables) if module else tables:
        if close := difflib.get_close_matches(key, names, n=3, cutoff=0.6):
            return "did you mean " + " or ".join(names[match] for match in close) + "?"
    return _KNOWN


def list_games() -> list[str]:
    """What `--game` understands, as lines of text."""
    _import_problem("ale_py")
    games = _known_games().values()
    atari = sorted({game.name for game in games if game.is_atari} - set(TABLE_4_GAMES))
    others = sorted({game.gymnasium_id for game in games if not game.is_atari} - {CATCH_ID})
    groups = {
        f"the {len(TABLE_4_GAMES)} games of the paper's Table 4": TABLE_4_GAMES,
        "learned in minutes on a laptop": ["Catch"],
        "other Atari games": atari,
        "registered with Gymnasium (they need pixels and discrete actions)": others,
        "of your own": ["module:Id-v0, which imports the module first"],
    }
    return [
        line
        for title, names in groups.items()
        for line in (
            f"{title}:",
            *textwrap.wrap(", ".join(names), 96, initial_indent="  ", subsequent_indent="  "),
        )
    ]
