"""Names of games: from what a person types to the Gymnasium environment that is meant.

This module imports no TensorFlow: a wrong name is refused before anything heavy is loaded.
"""

import contextlib
import difflib
import importlib
import io
import re

import gymnasium

from smallwm_tf.experiment.experiment import Game
from smallwm_tf.experiment.messages import one_line, show
from smallwm_tf.games import CATCH_ID

TABLE_4_GAMES = (
    "Alien", "Amidar", "Assault", "Asterix", "Asteroids", "Atlantis", "BankHeist", "BattleZone",
    "BeamRider", "Bowling", "Boxing", "Breakout", "ChopperCommand", "CrazyClimber", "DemonAttack",
    "FishingDerby", "Freeway", "Frostbite", "Gopher", "Gravitar", "Hero", "IceHockey", "Jamesbond",
    "Kangaroo", "Krull", "KungFuMaster", "MsPacman", "NameThisGame", "Pong", "PrivateEye", "Qbert",
    "Riverraid", "RoadRunner", "Seaquest", "UpNDown", "YarsRevenge",
)  # fmt: skip
"""The 36 games of the paper's Table 4, under the names used there."""

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
    `gymnasium.make` does. Case, spaces, underscores and hyphens do not matter. Every id of an
    Atari game means the game itself: frame skipping and sticky actions are this project's
    (`RealGame`), not those of the id. The ROM of a game that is returned is installed and intact.

    Raises:
        UnknownGameError: No such game; the message gives the nearest names.
        MissingGameError: ale-py, the ROM, or the named module cannot be loaded.
    """
    if not isinstance(name, str) or not _normalise(name):
        raise UnknownGameError(f"game={show(name)} is not the name of a game; {_KNOWN}")
    ale_problem = _import_problem("ale_py")  # importing it registers the Atari games
    module, _, wanted = name.rpartition(":")
    if module and (problem := _import_problem(module)):
        raise MissingGameError(
            f"game={show(name)}: importing {show(module)} failed ({problem}); "
            "install it or put it on PYTHONPATH"
        )
    games = _known_games(module)
    key = _normalise(wanted)
    if key not in games:
        raise UnknownGameError(f"game={show(name)} is not known; {_nearest(key, games)}")
    if games[key].is_atari:
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


def cannot_open(game: Game, error: Exception) -> MissingGameError:
    """An error to raise for a game that is known but fails to open."""
    remedy = f"run: {_INSTALL_ALE}" if game.is_atari else "install it"
    return MissingGameError(f"game={game.name} cannot be opened ({one_line(error)}); {remedy}")


def _normalise(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _import_problem(module: str) -> str | None:
    """Imports a module; returns why it failed, or None."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary raises more than ImportError
        return one_line(error)
    return None


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


def _check_rom(game: Game, ale_problem: str | None) -> None:
    if ale_problem is not None:
        raise MissingGameError(
            f"game={game.name} needs ale-py, which cannot be loaded ({ale_problem}); "
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


def _nearest(key: str, games: dict[str, Game]) -> str:
    """Names near `key`: of Table 4 if any, else other Atari games, else Gymnasium ids."""
    key = re.sub(r"^ale(?=.*v\d$)|v\d+$", "", key) or key  # "alepongv5": the id's trimmings
    preferred = {_normalise(name): name for name in (*TABLE_4_GAMES, "Catch")}
    atari = {_normalise(game.name): game.name for game in games.values() if game.is_atari}
    others = {_normalise(game.name): game.gymnasium_id for game in games.values()}
    for names in (preferred, atari | preferred, others):
        if close := difflib.get_close_matches(key, names, n=3, cutoff=0.6):
            return "did you mean " + " or ".join(names[match] for match in close) + "?"
    return _KNOWN
