"""A small Hub on loopback: the calls that huggingface_hub makes to create a repository, commit to it and read it.

One process, everything in memory. It is as strict as the real one where publishing depends on it: a token is needed, a
file larger than 10 KiB or named *.safetensors goes through LFS and must arrive with the announced SHA-256, a commit
takes all of its files or none. `python tests/hub_server.py '{"token": "hf_x", "cut": 1}'` prints its port; `cut` fails
that many LFS uploads in their middle, `hold` leaves that many unanswered. /state tells what has arrived.
"""

import asyncio
import base64
import hashlib
import json
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LFS_SIZE = 10 * 1024


class Hub:
    def __init__(self, token: str, cut: int = 0, hold: int = 0) -> None:
        self.token, self.cut, self.hold = token, cut, hold
        self.repos: dict[str, dict] = {}  # by OWNER/NAME: private, commits, files (name to content)
        self.large: dict[str, bytes] = {}  # LFS objects by SHA-256
        self.uploads = 0


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def application(hub: Hub) -> Starlette:
    def refused(request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {hub.token}":
            return None
        return JSONResponse({"error": "Invalid username or password."}, 401)

    def repo_of(request: Request) -> tuple[str, dict | None]:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        return name, hub.repos.get(name)

    def missing() -> Response:
        return JSONResponse({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    async def create(request: Request) -> Response:
        if refusal := refused(request):
            return refusal
        asked = await request.json()
        owner = asked.get("organization") or "me"
        if owner != "me":
            return JSONResponse({"error": f"You don't have the rights to create under {owner}"}, 403)
        name = f"{owner}/{asked['name']}"
        if name in hub.repos:
            return JSONResponse({"error": "You already created this model repo", "url": f"/{name}"}, 409)
        private = asked.get("visibility") == "private" or asked.get("private") is True
        hub.repos[name] = {"private": private, "commits": ["0" * 40], "files": {}}
        return JSONResponse({"url": f"http://127.0.0.1/{name}", "name": name})

    async def validate(request: Request) -> Response:
        content = (await request.json())["content"]
        if not content.startswith("---\n"):
            return JSONResponse({"errors": [{"message": "no metadata"}], "warnings": []}, 400)
        return JSONResponse({"errors": [], "warnings": []})

    async def info(request: Request) -> Response:
        if refusal := refused(request):
            return refusal
        name, repo = repo_of(request)
        if repo is None:
            return missing()
        siblings = [{"rfilename": file, "size": len(content)} for file, content in repo["files"].items()]
        answer = {"_id": "1", "id": name, "modelId": name, "sha": repo["commits"][-1], "siblings": siblings}
        return JSONResponse(answer | {"private": repo["private"], "tags": [], "downloads": 0, "likes": 0})

    async def tree(request: Request) -> Response:
        _, repo = repo_of(request)
        if repo is None:
            return missing()
        return JSONResponse(
            [
                {"type": "file", "path": file, "size": len(content), "oid": git_oid(content)}
                for file, content in repo["files"].items()
            ]
        )

    async def preupload(request: Request) -> Response:
        if refusal := refused(request):
            return refusal
        _, repo = repo_of(request)
        if repo is None:
            return missing()
        files = []
        for file in (await request.json())["files"]:
            large = file["size"] > LFS_SIZE or file["path"].endswith(".safetensors")
            there = repo["files"].get(file["path"])
            oid = there and (hashlib.sha256(there).hexdigest() if large else git_oid(there))
            mode = "lfs" if large else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return JSONResponse({"files": files})

    async def batch(request: Request) -> Response:
        if refusal := refused(request):
            return refusal
        objects = []
        for asked in (await request.json())["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in hub.large:
                answer["actions"] = {"upload": {"href": f"{request.base_url!s}lfs/{asked['oid']}"}}
            objects.append(answer)
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def upload(request: Request) -> Response:
        hub.uploads += 1
        if hub.cut:
            hub.cut -= 1
            return JSONResponse({"error": "storage is gone"}, 400)
        content = await request.body()
        if hub.hold:
            hub.hold -= 1
            while not await request.is_disconnected():
                await asyncio.sleep(0.05)
            return Response(status_code=400)
        if hashlib.sha256(content).hexdigest() != request.path_params["oid"]:
            return JSONResponse({"error": "not the announced content"}, 400)
        hub.large[request.path_params["oid"]] = content
        return Response()

    async def commit(request: Request) -> Response:
        if refusal := refused(request):
            return refusal
        name, repo = repo_of(request)
        if repo is None:
            return missing()
        files = dict(repo["files"])
        for line in (await request.body()).decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in hub.large:
                    return JSONResponse({"error": f"{value['path']} was never uploaded"}, 400)
                files[value["path"]] = hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        oid = f"{len(repo['commits']):040x}"
        repo["files"] = files
        repo["commits"].append(oid)
        return JSONResponse({"commitUrl": f"{request.base_url}{name}/commit/{oid}", "commitOid": oid})

    async def content(request: Request) -> Response:
        if refusal := refused(request):
            return refusal
        _, repo = repo_of(request)
        file = request.path_params["file"]
        if repo is None or file not in repo["files"]:
            return JSONResponse({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        found = repo["files"][file]
        return Response(found, headers={"ETag": f'"{git_oid(found)}"', "X-Repo-Commit": repo["commits"][-1]})

    async def state(_request: Request) -> Response:
        repos = {
            name: repo | {"files": {file: base64.b64encode(found).decode() for file, found in repo["files"].items()}}
            for name, repo in hub.repos.items()
        }
        return JSONResponse({"repos": repos, "uploads": hub.uploads})

    async def publish(request: Request) -> Response:
        """Makes a repository public, as its owner can on its page."""
        _, repo = repo_of(request)
        repo["private"] = False
        return Response()

    model = "/api/models/{owner}/{name}"
    return Starlette(
        routes=[
            Route("/api/repos/create", create, methods=["POST"]),
            Route("/api/validate-yaml", validate, methods=["POST"]),
            Route(model, info),
            Route(f"{model}/revision/{{revision}}", info),
            Route(f"{model}/tree/{{revision}}", tree),
            Route(f"{model}/preupload/{{revision}}", preupload, methods=["POST"]),
            Route(f"{model}/commit/{{revision}}", commit, methods=["POST"]),
            Route("/{owner}/{name}.git/info/lfs/objects/batch", batch, methods=["POST"]),
            Route("/lfs/{oid}", upload, methods=["PUT"]),
            Route("/{owner}/{name}/resolve/{revision}/{file:path}", content),
            Route("/state", state),
            Route("/publish/{owner}/{name}", publish, methods=["POST"]),
        ]
    )


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    settings = json.loads(sys.argv[1])
    config = uvicorn.Config(application(Hub(**settings)), log_level="critical", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
