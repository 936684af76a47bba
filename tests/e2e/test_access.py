"""Who may do what over the management endpoint: nobody gives what he has not, or changes who may do more than he."""

import json

from lib import check, comes_to, equal
from test_management import ADMIN, Api, Managed


def with_key(s, secret):
    api = Api(s.http_port, ADMIN)
    api.headers["Authorization"] = f"Bearer {secret}"
    return api


def account(s, name, **more):
    """Its id; its password is "the word of NAME"."""
    return s.api.create("Account", **{"@type": "User"}, name=name, domainId=s.api.find("Domain", name="example.org"),
                        credentials={"0": {"@type": "Password", "secret": f"the word of {name}"}}, **more)


def sign_in(s, name):
    return Api(s.http_port, f"{name}@example.org:the word of {name}")


def refusal(answer):
    """Of a call with one object, which has to be forbidden: the text."""
    [refused] = list((answer.get("notCreated") or answer.get("notUpdated") or answer.get("notDestroyed")).values())
    equal(refused["type"], "forbidden", f"the answer ({answer})")
    return refused["description"]


def test_nobody_gives_what_he_has_not():
    """Who may change accounts does not become an administrator by it."""
    with Managed() as s:
        domain = s.api.find("Domain", name="example.org")
        rights = {"sysAccountGet": True, "sysAccountQuery": True, "sysAccountUpdate": True,
                  "sysAccountCreate": True}
        role = s.api.create("Role", description="helpdesk", enabledPermissions=rights)
        secret = {"0": {"@type": "Password", "secret": "helpdesk of the day"}}
        me = s.api.create("Account", **{"@type": "User"}, name="desk", domainId=domain, credentials=secret,
                          roles={"@type": "Custom", "roleIds": {role: True}})
        desk = Api(s.http_port, "desk@example.org:helpdesk of the day")
        desk.create("Account", **{"@type": "User"}, name="new", domainId=domain)
        for answer in (desk.set("Account", update={me: {"roles": {"@type": "Admin"}}}),
                       desk.set("Account", create={"n": {"@type": "User", "name": "x", "domainId": domain,
                                                         "roles": {"@type": "Admin"}}})):
            [refused] = list(answer.get("notUpdated", answer.get("notCreated")).values())
            equal(refused["type"], "forbidden", f"the answer ({answer})")
        equal(desk.calls(("x:Domain/get", {"ids": None}))[0][0], "error", "reading another type")


def test_keys_of_keys():
    """An API key that may do little makes none that may do more, and does not become more itself."""
    with Managed() as s:
        s.api.create("Account", **{"@type": "User"}, name="chief", domainId=s.api.find("Domain", name="example.org"),
                     roles={"@type": "Admin"}, credentials={"0": {"@type": "Password", "secret": "the word of chief"}})
        chief = Api(s.http_port, "chief@example.org:the word of chief")
        little = {"@type": "Replace", "permissions": {"sysApiKeyCreate": True, "sysApiKeyUpdate": True, "sysDomainQuery": True}}
        made = chief.set("ApiKey", create={"n": {"description": "little", "permissions": little}})["created"]["n"]
        key = Api(s.http_port, ADMIN)
        key.headers["Authorization"] = f"Bearer {made['secret']}"
        for answer in (key.set("ApiKey", create={"n": {"description": "more"}}),
                       key.set("ApiKey", update={made["id"]: {"permissions": {"@type": "Inherit"}}}),
                       key.set("ApiKey", update={made["id"]: {"permissions/permissions/sysAccountUpdate": True}})):
            [refused] = list((answer.get("notCreated") or answer.get("notUpdated")).values())
            equal(refused["type"], "forbidden", f"the answer ({answer})")
        key.update("ApiKey", made["id"], description="as little as before")
        check(key.set("ApiKey", create={"n": {"description": "as little", "permissions": little}})["created"], "one that may as little")


def test_helpdesk():
    """Who may change accounts sets passwords of users and removes them; administrators he can neither rename nor remove."""
    with Managed() as s:
        domain = s.api.find("Domain", name="example.org")

        def account(name, **more):
            return s.api.create("Account", **{"@type": "User"}, name=name, domainId=domain,
                                credentials={"0": {"@type": "Password", "secret": f"the word of {name}"}}, **more)
        role = s.api.create("Role", description="helpdesk", enabledPermissions={
            f"sysAccount{verb}": True for verb in ("Get", "Query", "Create", "Update", "Destroy")})
        account("desk", roles={"@type": "Custom", "roleIds": {role: True}})
        user, chief = account("user"), account("chief", roles={"@type": "Admin"})
        desk = Api(s.http_port, "desk@example.org:the word of desk")
        desk.update("Account", user, **{"credentials/0/secret": "another word now"})
        equal(Api(s.http_port, "user@example.org:another word now").http("GET", "/api/account")[0], 200, "the user signs in")
        desk.update("Account", chief, description="upstairs")
        answers = [desk.set("Account", update={chief: patch}) for patch in (
            {"name": "nobody"}, {"credentials": {}}, {"credentials/0/secret": "another word now"})]
        answers.append(desk.set("Account", destroy=[chief, user]))
        for answer in answers:
            [refused] = list((answer.get("notUpdated") or answer.get("notDestroyed")).values())
            equal(refused["type"], "forbidden", f"the answer ({answer})")
        equal(answers[-1]["destroyed"], [user], "the user of the same call")
        equal(Api(s.http_port, "chief@example.org:the word of chief").http("GET", "/api/account")[0], 200, "the administrator")


def test_guess_of_a_password():
    """Who may change accounts does not learn whether a guess of an administrator's password is right: not by setting it,
    and not by trying a plan that would."""
    with Managed() as s:
        may = {f"sysAccount{verb}": True for verb in ("Get", "Query", "Create", "Update")}
        may.update(dict.fromkeys(("sysMtaOutboundStrategyUpdate", "sysMtaRouteUpdate", "sysDomainUpdate",
                                  "sysMtaOutboundStrategyGet"), True))
        role = s.api.create("Role", description="helpdesk", enabledPermissions=may)
        account(s, "desk", roles={"@type": "Custom", "roleIds": {role: True}})
        chief = account(s, "chief", roles={"@type": "Admin"})
        user = account(s, "user")
        desk = sign_in(s, "desk")

        def tried(id, secret):
            line = {"@type": "update", "object": "Account", "id": id, "value": {"credentials/0/secret": secret}}
            status, _, body = desk.http("POST", "/api/explain", json.dumps({"plan": json.dumps(line), "recipients": ""}))
            return status, json.loads(body)
        answers = [desk.set("Account", update={chief: {"credentials/0/secret": guess}})
                   for guess in ("the word of chief", "the word of chef", "short")]
        for answer in answers:
            check("permissions that you do not have" in refusal(answer), f"{answer}")
        equal(answers[0], answers[1], "a right guess")
        equal(tried(chief, "the word of chief"), tried(chief, "the word of chef"), "a right guess, only tried")
        equal(tried(chief, "the word of chief")[0], 400, "only tried")
        def told():
            return [x for x in s.log().splitlines() if " change-forbidden " in x]
        comes_to(lambda: len(told()), 6, "lines of the log")
        lines = told()
        check(all(f" verb=update type=Account variant=User id={chief} name=chief who=desk@example.org " in x for x in lines),
              f"{lines}")
        check("updated 1" in tried(user, "the word of user")[1]["report"], "a user's password, as it is: nothing is compared")
        check("updated 1" in tried(user, "another word of user")[1]["report"], "a user's password, another")


def test_trying_a_plan_needs_what_it_does():
    """Of a plan that is tried, what the caller might not change is refused."""
    with Managed() as s:
        may = dict.fromkeys(("sysMtaOutboundStrategyUpdate", "sysMtaRouteUpdate", "sysDomainUpdate", "sysAccountCreate",
                             "sysMtaOutboundStrategyGet", "sysAccountGet"), True)
        role = s.api.create("Role", description="planner", enabledPermissions=may)
        account(s, "planner", roles={"@type": "Custom", "roleIds": {role: True}})
        planner = sign_in(s, "planner")
        line = {"@type": "update", "object": "Role", "id": role, "value": {"description": "other"}}
        status, _, body = planner.http("POST", "/api/explain", json.dumps({"plan": json.dumps(line), "recipients": ""}))
        equal(status, 400, "the plan's status")
        check("sysRoleUpdate" in json.loads(body)["detail"], f"{body}")


def test_many_that_are_forbidden():
    """Any number of objects of a call that the caller may not change do not stop the others."""
    with Managed() as s:
        may = {f"sysAccount{verb}": True for verb in ("Get", "Query", "Create", "Update")}
        role = s.api.create("Role", description="helpdesk", enabledPermissions=may)
        account(s, "desk", roles={"@type": "Custom", "roleIds": {role: True}})
        user = account(s, "user")
        chiefs = [account(s, f"chief{i}", roles={"@type": "Admin"}) for i in range(12)]
        answer = sign_in(s, "desk").set("Account", update={
            **{id: {"credentials/0/secret": "another word now"} for id in chiefs},
            user: {"credentials/0/secret": "another word now"}})
        equal(list(answer["updated"]), [user], "what was changed")
        equal(sorted(answer["notUpdated"]), sorted(chiefs), "what was not")


def test_keys_do_not_prolong_themselves():
    """A key that ends and is good from some addresses makes neither of itself nor of another one more than that, sets no
    administrator's password, and does not touch keys that go beyond it."""
    with Managed() as s:
        chief_id = account(s, "chief", roles={"@type": "Admin"})
        chief = sign_in(s, "chief")
        end, later = "2099-01-01T00:00:00.000Z", "2099-01-02T00:00:00.000Z"
        limits = {"expiresAt": end, "allowedIps": {"127.0.0.0/24": True}}

        def made(**value):
            return chief.set("ApiKey", create={"n": {"description": "x", **value}})["created"]["n"]
        own, other = made(**limits), made()
        key = with_key(s, own["secret"])
        for patch in ({"expiresAt": later}, {"expiresAt": None}, {"allowedIps": {}}, {"allowedIps": {"127.0.0.0/8": True}},
                      {"allowedIps/10.0.0.1": True}):
            check("what you have signed in with" in refusal(key.set("ApiKey", update={own["id"]: patch})), f"{patch}")
        for value in ({}, {"expiresAt": end}, {**limits, "expiresAt": later}, {**limits, "allowedIps": {"::1": True}}):
            refusal(key.set("ApiKey", create={"n": {"description": "another", **value}}))
        refusal(key.set("ApiKey", update={other["id"]: {"description": "mine now"}}))
        refusal(key.set("ApiKey", destroy=[other["id"]]))
        refusal(key.set("Account", update={chief_id: {"credentials/0/secret": "the word of the key"}}))
        refusal(key.set("Account", create={"n": {
            "@type": "User", "name": "second", "domainId": s.api.find("Domain", name="example.org"), "roles": {"@type": "Admin"},
            "credentials": {"0": {"@type": "Password", "secret": "the word of the key"}}}}))
        # What is no more than it has is fine.
        key.update("ApiKey", own["id"], expiresAt="2098-01-01T00:00:00Z", description="shorter")
        check(key.set("ApiKey", create={"n": {"description": "as little", **limits, "expiresAt": "2097-01-01T00:00:00Z"}})
              .get("created"), "a lesser key")
        key.update("Account", chief_id, description="upstairs")
        # Gone in the same request, it gives nothing more.
        destroyed, created = key.calls(("x:ApiKey/set", {"destroy": [own["id"]]}),
                                       ("x:ApiKey/set", {"create": {"n": {"description": "after me", **limits}}}))
        equal(destroyed["destroyed"], [own["id"]], "the key itself")
        check("is gone" in refusal(created), f"{created}")
        equal(key.http("GET", "/api/account")[0], 401, "signing in with it")
        equal(with_key(s, other["secret"]).http("GET", "/api/account")[0], 200, "the key that it could not touch")


def test_roles_of_the_stronger():
    """Rights on Roles take no permission from an account that may do more, whatever way its roles go."""
    with Managed() as s:
        rights = s.api.create("Role", description="roles", enabledPermissions=dict.fromkeys(
            ("sysRoleGet", "sysRoleQuery", "sysRoleCreate", "sysRoleUpdate", "sysRoleDestroy", "sysDomainGet"), True))
        reading = s.api.create("Role", description="reading", enabledPermissions={"sysDomainGet": True})
        strong = s.api.create("Role", description="strong", roleIds={reading: True},
                              enabledPermissions={"sysDomainUpdate": True})
        account(s, "keeper", roles={"@type": "Custom", "roleIds": {rights: True}})
        chief = account(s, "chief", roles={"@type": "Custom", "roleIds": {strong: True}})
        keeper = sign_in(s, "keeper")
        for id, patch in ((strong, {"enabledPermissions": {}}), (strong, {"description": "weak"}), (strong, {"roleIds": {}}),
                          (reading, {"enabledPermissions/sysDomainGet": None}),
                          (reading, {"disabledPermissions/sysDomainUpdate": True})):
            check("sysDomainUpdate" in refusal(keeper.set("Role", update={id: patch})), f"{patch}")
        refusal(keeper.set("Role", destroy=[strong]))
        free = keeper.create("Role", description="free", enabledPermissions={"sysDomainGet": True})
        keeper.update("Role", free, **{"enabledPermissions/sysDomainGet": None})
        keeper.destroy("Role", free)
        s.api.update("Account", chief, roles={"@type": "User"})
        keeper.update("Role", reading, **{"enabledPermissions/sysDomainGet": None})


def test_domains_of_the_stronger():
    """Rights on Domains do not shut an administrator out: his domain is neither renamed nor switched off by who may do
    less; the rest of it is theirs, and so are domains of users."""
    with Managed() as s:
        domain = s.api.find("Domain", name="example.org")
        role = s.api.create("Role", description="domains", enabledPermissions={f"sysDomain{verb}": True for verb in
                                                                               ("Get", "Query", "Create", "Update", "Destroy")})
        account(s, "keeper", roles={"@type": "Custom", "roleIds": {role: True}})
        account(s, "chief", roles={"@type": "Admin"})
        keeper = sign_in(s, "keeper")
        for patch in ({"name": "example.net"}, {"isEnabled": False}):
            check("an account in this domain" in refusal(keeper.set("Domain", update={domain: patch})), f"{patch}")
        keeper.update("Domain", domain, description="ours", allowRelaying=False, aliases={"example.com": True})
        other = keeper.create("Domain", name="other.example")
        s.api.create("Account", **{"@type": "User"}, name="user", domainId=other)
        keeper.update("Domain", other, name="another.example", isEnabled=False)
        equal(sign_in(s, "chief").http("GET", "/api/account")[0], 200, "the administrator")
