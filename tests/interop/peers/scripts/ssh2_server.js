// An SFTP server for one account on npm's ssh2: what it leaves to whoever uses it is done by Node's fs here, each
// request on its own, so that they overtake each other.
//
// Prints where it listens and its version; ends when it is killed. Arguments: the folder with keys; name, number and
// group number of who logs in.

"use strict";

const fs = require("fs");
const path = require("path");
const { Server, utils } = require("ssh2");

const { OPEN_MODE, STATUS_CODE } = utils.sftp;
const [folder, user, uid, gid] = process.argv.slice(2);
const read = (name) => fs.readFileSync(path.join(folder, name));
const authorized = utils.parseKey(read("authorized_keys"));
const REKEY_BYTES = 8 << 20;

const CODES = {
  ENOENT: STATUS_CODE.NO_SUCH_FILE,
  ENOTDIR: STATUS_CODE.NO_SUCH_FILE,
  EACCES: STATUS_CODE.PERMISSION_DENIED,
  EPERM: STATUS_CODE.PERMISSION_DENIED,
};

// Names are bytes, which ssh2 hands over as UTF-8 only.
function serve(sftp) {
  const handles = new Map();
  let next = 0;

  const answer = (id, error) => {
    if (!error) return sftp.status(id, STATUS_CODE.OK);
    sftp.status(id, CODES[error.code] ?? STATUS_CODE.FAILURE, error.message);
  };
  const attrs = (stat) => ({
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    atime: Math.floor(stat.atimeMs / 1000),
    mtime: Math.floor(stat.mtimeMs / 1000),
  });
  const keep = (id, value) => {
    const handle = Buffer.alloc(4);
    handle.writeUInt32BE(next++);
    handles.set(handle.toString("hex"), value);
    sftp.handle(id, handle);
  };
  const held = (id, handle, use) => {
    const value = handles.get(handle.toString("hex"));
    if (value === undefined) return sftp.status(id, STATUS_CODE.FAILURE, "no such handle");
    use(value);
  };
  const look = (id) => (error, stat) => (error ? answer(id, error) : sftp.attrs(id, attrs(stat)));
  const done = (id) => (error) => answer(id, error);

  const change = (id, target, given, calls) => {
    const steps = [];
    if (given.size !== undefined) steps.push((next) => calls.truncate(target, given.size, next));
    if (given.mode !== undefined) steps.push((next) => calls.chmod(target, given.mode & 0o7777, next));
    if (given.mtime !== undefined) steps.push((next) => calls.utimes(target, given.atime, given.mtime, next));
    const step = (error) => (error || steps.length === 0 ? answer(id, error) : steps.shift()(step));
    step(null);
  };

  sftp.on("OPEN", (id, name, flags, given) => {
    const has = (flag) => (flags & flag) !== 0;
    const both = has(OPEN_MODE.READ) && has(OPEN_MODE.WRITE);
    let mode = both ? fs.constants.O_RDWR : has(OPEN_MODE.WRITE) ? fs.constants.O_WRONLY : fs.constants.O_RDONLY;
    if (has(OPEN_MODE.CREAT)) mode |= fs.constants.O_CREAT;
    if (has(OPEN_MODE.EXCL)) mode |= fs.constants.O_EXCL;
    if (has(OPEN_MODE.TRUNC)) mode |= fs.constants.O_TRUNC;
    if (has(OPEN_MODE.APPEND)) mode |= fs.constants.O_APPEND;
    fs.open(name, mode, given.mode ?? 0o644, (error, fd) => (error ? answer(id, error) : keep(id, { fd })));
  });
  sftp.on("READ", (id, handle, offset, length) =>
    held(id, handle, ({ fd }) =>
      fs.read(fd, Buffer.alloc(length), 0, length, offset, (error, count, buffer) => {
        if (error) return answer(id, error);
        if (count === 0) return sftp.status(id, STATUS_CODE.EOF);
        sftp.data(id, buffer.subarray(0, count));
      })
    )
  );
  sftp.on("WRITE", (id, handle, offset, data) =>
    held(id, handle, ({ fd }) => {
      const write = (at) =>
        fs.write(fd, data, at, data.length - at, offset + at, (error, count) => {
          if (error || at + count === data.length) return answer(id, error);
          write(at + count);
        });
      write(0);
    })
  );
  sftp.on("FSTAT", (id, handle) => held(id, handle, ({ fd }) => fs.fstat(fd, look(id))));
  sftp.on("FSETSTAT", (id, handle, given) =>
    held(id, handle, ({ fd }) =>
      change(id, fd, given, { truncate: fs.ftruncate, chmod: fs.fchmod, utimes: fs.futimes })
    )
  );
  sftp.on("CLOSE", (id, handle) =>
    held(id, handle, (value) => {
      handles.delete(handle.toString("hex"));
      if (value.dir) return value.dir.close(done(id));
      fs.close(value.fd, done(id));
    })
  );
  sftp.on("OPENDIR", (id, name) =>
    fs.opendir(name, { bufferSize: 128 }, (error, dir) =>
      error ? answer(id, error) : keep(id, { dir, name, queue: Promise.resolve() })
    )
  );
  sftp.on("READDIR", (id, handle) =>
    held(id, handle, (value) => {
      // One after the other: requests for the same folder share its position.
      value.queue = value.queue.then(() => names(value, 100)).then(
        (list) => (list.length ? sftp.name(id, list) : sftp.status(id, STATUS_CODE.EOF)),
        (error) => answer(id, error)
      );
    })
  );
  const names = async ({ dir, name }, most) => {
    const list = [];
    while (list.length < most) {
      const entry = await dir.read();
      if (!entry) break;
      const stat = await fs.promises.lstat(path.join(name, entry.name)).catch(() => null);
      if (stat) list.push({ filename: entry.name, longname: entry.name, attrs: attrs(stat) });
    }
    return list;
  };
  sftp.on("LSTAT", (id, name) => fs.lstat(name, look(id)));
  sftp.on("STAT", (id, name) => fs.stat(name, look(id)));
  sftp.on("SETSTAT", (id, name, given) =>
    change(id, name, given, { truncate: fs.truncate, chmod: fs.chmod, utimes: fs.utimes })
  );
  sftp.on("REMOVE", (id, name) => fs.unlink(name, done(id)));
  sftp.on("RMDIR", (id, name) => fs.rmdir(name, done(id)));
  sftp.on("MKDIR", (id, name, given) => fs.mkdir(name, given.mode ?? 0o755, done(id)));
  // As version 3 of the draft has it: not over a name that is there.
  sftp.on("RENAME", (id, from, to) =>
    fs.lstat(to, (error) => {
      if (error && error.code === "ENOENT") return fs.rename(from, to, done(id));
      sftp.status(id, STATUS_CODE.FAILURE, "it is there already");
    })
  );
  sftp.on("REALPATH", (id, name) => {
    const filename = path.resolve("/", name);
    sftp.name(id, [{ filename, longname: filename, attrs: {} }]);
  });
  sftp.on("READLINK", (id, name) =>
    fs.readlink(name, (error, target) =>
      error ? answer(id, error) : sftp.name(id, [{ filename: target, longname: target, attrs: {} }])
    )
  );
  sftp.on("SYMLINK", (id, link, target) => fs.symlink(target, link, done(id)));
}

const server = new Server({ hostKeys: [read("host_key")] }, (client) => {
  client.on("authentication", (asked) => {
    const fits =
      asked.username === user &&
      asked.method === "publickey" &&
      asked.key.algo === authorized.type &&
      asked.key.data.equals(authorized.getPublicSSH()) &&
      (!asked.signature || authorized.verify(asked.blob, asked.signature, asked.hashAlgo) === true);
    if (fits) asked.accept();
    else asked.reject(["publickey"]);
  });
  client.on("session", (accept) => accept().on("sftp", (accept) => serve(accept())));
  client.on("error", () => {}); // whoever was cut off connects again
  let seen = 0;
  const timer = setInterval(() => {
    const socket = client._sock;
    const now = socket ? socket.bytesRead + socket.bytesWritten : 0;
    if (now < seen + REKEY_BYTES) return;
    seen = now;
    client.rekey(() => console.error("rekeyed"));
  }, 20);
  client.on("close", () => clearInterval(timer));
});

server._srv.on("connection", (socket) => socket.setNoDelay(true));
server.listen(0, "127.0.0.1", () => {
  if (process.getuid() === 0) {
    process.setgroups([Number(gid)]);
    process.setgid(Number(gid));
    process.setuid(Number(uid));
  }
  process.umask(0o022);
  const { version } = require("ssh2/package.json");
  console.log(`port ${server.address().port} version ${version}`);
});
