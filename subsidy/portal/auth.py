"""Airflow's auth manager from our role table: rights per DAG that hold for every view and every API route, closed by default.

Airflow asks with one word, PUT on a task instance, for two very different things: clearing (safe, an operator's daily work) and marking
as success (which would forge an approval). Which one it is only the route tells; `subsidy.portal.guard` notes the route of
the request, and only the clearing routes pass. Results of tasks (XCom) can be written by nobody.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlencode

from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.common.types import MenuItem
from airflow.configuration import conf

from subsidy.errors import TerminalError
from subsidy.portal import passwords
from subsidy.portal.dag_ids import read_dag_id
from subsidy.portal.roles import CLEARING, Person, RoleTable, load_roles
from subsidy.settings import load_settings

#: "METHOD /path" of the request under way; "" outside a request.
ROUTE: ContextVar[str] = ContextVar("subsidy_route", default="")

_CLEAR = re.compile(r"POST /api/v2/dags/[^/~]+/(clearTaskInstances|dagRuns/[^/]+/clear)")
_BACKFILL = re.compile(r"(POST|PUT) /api/v2/backfills(/.*)?")
_LISTED = frozenset(set(DagAccessEntity) - {DagAccessEntity.AUDIT_LOG})
_VIEWS = frozenset({AccessView.WEBSITE, AccessView.IMPORT_ERRORS, AccessView.CLUSTER_ACTIVITY, AccessView.PLUGINS})
_MENU = frozenset({MenuItem.DAGS, MenuItem.REQUIRED_ACTIONS, MenuItem.DEADLINES, MenuItem.ASSETS})


class PortalUser(BaseUser):  # type: ignore[misc]
    """A person who has signed in. Id and name are both the login, so that starter and answerer can be compared."""

    def __init__(self, person: Person) -> None:
        self.person = person

    def get_id(self) -> str:
        return self.person.login

    def get_name(self) -> str:
        return self.person.login


class RoleTableAuthManager(BaseAuthManager[PortalUser]):  # type: ignore[misc]
    """People and rights come from ``roles.yaml``, passwords from a file of hashes."""

    def init(self) -> None:
        """Refuse to start without keys, role table or passwords."""
        super().init()
        if not conf.get("api_auth", "jwt_secret", fallback="") or not conf.get("core", "fernet_key", fallback=""):
            raise TerminalError(
                "SET-AIRFLOW-KEYS", "没有设置 Airflow 的密钥 api_auth.jwt_secret 或 core.fernet_key。", "网页和接口没有启动。",
                "从密钥库取得密钥，设置 AIRFLOW__API_AUTH__JWT_SECRET 和 AIRFLOW__CORE__FERNET_KEY 后重试。",
            )
        settings = load_settings()
        load_roles(settings.rules)
        passwords.load(passwords.password_file(settings.home))

    @staticmethod
    def roles() -> RoleTable:
        """The role table as it is now; a change of the file counts from the next request on."""
        return load_roles(load_settings().rules)

    def get_url_login(self, **kwargs: Any) -> str:
        next_url = kwargs.get("next_url")
        return "/auth/login" + (f"?{urlencode({'next': next_url})}" if next_url else "")

    def get_fastapi_app(self) -> Any:
        from subsidy.portal.login import login_app

        return login_app(self)

    def deserialize_user(self, token: dict[str, Any]) -> PortalUser:
        person = self.roles().people.get(token["sub"])
        if person is None:
            raise ValueError("unknown person")
        return PortalUser(person)

    def serialize_user(self, user: PortalUser) -> dict[str, Any]:
        return {"sub": user.get_id()}

    # --- DAGs --------------------------------------------------------------------------------------------------------

    def is_authorized_dag(
        self, *, method: str, user: PortalUser, access_entity: DagAccessEntity | None = None, details: DagDetails | None = None
    ) -> bool:
        if details is None or details.id is None:  # a list over many DAGs, which Airflow then narrows to the permitted ones
            return method == "GET" and (access_entity is None or access_entity in _LISTED)
        known = read_dag_id(details.id)
        if known is None:
            return False
        centre, _ = known
        may = user.person.may
        if method == "GET":
            return may(centre, "view") or (access_entity is DagAccessEntity.HITL_DETAIL and may(centre, "approve"))
        route = ROUTE.get()
        if access_entity is DagAccessEntity.HITL_DETAIL:
            return method == "PUT" and may(centre, "approve")
        if access_entity is None:  # pause and resume; what a list of editable DAGs shows
            return method == "PUT" and may(centre, "run")
        if access_entity is DagAccessEntity.RUN:
            allowed = method == "POST" or bool(_CLEAR.fullmatch(route) or _BACKFILL.fullmatch(route))
            return method in ("POST", "PUT") and allowed and may(centre, "run")
        if access_entity is DagAccessEntity.TASK_INSTANCE:
            return method == "PUT" and _CLEAR.fullmatch(route) is not None and may(centre, "run")
        return False

    # --- everything else ---------------------------------------------------------------------------------------------

    def is_authorized_view(self, *, access_view: AccessView, user: PortalUser) -> bool:
        return access_view in _VIEWS

    def is_authorized_asset(self, *, method: str, user: PortalUser, details: Any = None) -> bool:
        return method == "GET" and user.person.may(CLEARING, "view")

    def is_authorized_asset_alias(self, *, method: str, user: PortalUser, details: Any = None) -> bool:
        return False

    def is_authorized_configuration(self, *, method: str, user: PortalUser, details: Any = None) -> bool:
        return False

    def is_authorized_connection(self, *, method: str, user: PortalUser, details: Any = None) -> bool:
        return False

    def is_authorized_pool(self, *, method: str, user: PortalUser, details: Any = None) -> bool:
        return False

    def is_authorized_variable(self, *, method: str, user: PortalUser, details: Any = None) -> bool:
        return False

    def is_authorized_custom_view(self, *, method: str, resource_name: str, user: PortalUser) -> bool:
        return False

    def filter_authorized_menu_items(self, menu_items: list[MenuItem], *, user: PortalUser) -> list[MenuItem]:
        return [item for item in menu_items if item in _MENU and (item is not MenuItem.ASSETS or user.person.may(CLEARING, "view"))]
