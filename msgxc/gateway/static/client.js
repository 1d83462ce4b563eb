// The exchange, for a page: one websocket that comes back by itself, loses nothing and shows nothing twice.
// No dependencies. docs/websocket.md has the frames.
//
//   const exchange = new Exchange({ token: () => fetchToken() });
//   exchange.addEventListener("message", ({ detail }) => show(detail));
//   exchange.connect();
//   await exchange.listen(tid);

const FIRST_DELAY = 500, LONGEST_DELAY = 30_000; // ms before the socket is sought again
const PING = 25_000, PATIENCE = 10_000; // ms between check-ins; ms in which something has to come back
const IDLE = 120_000; // ms without a key, a touch or a move: nobody is at the screen
const OVERLAP = 15_000; // ms: what was seen in that time is named when a thread is resumed
const LATER = 8; // as after so many tries: half a minute
const KEPT = 400; // messages of a thread that are remembered
const START = "00000000-0000-7000-8000-000000000000"; // before the first message

export class Exchange extends EventTarget {
  // url: of the gateway. token: a text, or a function that answers a fresh one. vid: names this device.
  // A token that was refused is never shown again: with a function the next one is asked for, now and then;
  // with a text the state is "refused", until connect() is called after the page has set another `token`.
  constructor({ url = location.origin, token, vid = visitor() }) {
    super();
    this.url = url.replace(/\/$/, "");
    this.vid = vid;
    this.state = "offline"; // offline, connecting, online, refused
    this.uid = null;
    this.token = token;
    this._refused = null; // the token that does not count
    this._threads = new Map(); // tid -> { last, seen }
    this._channels = new Set();
    this._waiting = new Map(); // ref -> { resolve, reject }
    this._unread = new Map(); // tid -> mid that nobody has looked at yet
    this._deliveries = new Set();
    this._tries = 0;
    this._ref = 0;
    this._attention = attention(() => this._looked());
  }

  connect() {
    if (this._wanted) return this._open();
    this._wanted = true;
    this._online = () => { this._tries = 0; this._open(); };
    globalThis.addEventListener("online", this._online);
    this._open();
  }

  close() {
    this._wanted = false;
    clearTimeout(this._timer);
    globalThis.removeEventListener("online", this._online);
    this._socket?.close(1000);
    this._lost();
  }

  // Hear a thread: first its newest messages, then what is said. Again after every reconnect, by itself.
  async listen(tid, { history = 50 } = {}) {
    const thread = { last: history ? START : this._start ?? null, seen: new Map() };
    const page = history ? await this.get(`/threads/${encodeURIComponent(tid)}/messages?limit=${history}`) : { messages: [] };
    this._threads.set(tid, thread);
    for (const frame of page.messages.reverse()) this._message(tid, frame);
    if (this.state === "online") await this._resume(tid);
  }

  leave(tid) {
    this._threads.delete(tid);
    this._say("/api/v2/unsubscribe/thread", { tid });
  }

  // A public channel: what is said there is not stored. name: 16 to 127 characters.
  tune(name) {
    this._channels.add(name);
    this._say(`/api/v2/subscribe/public-ephemeral/${name}`);
  }

  whisper(name, msg, opts = {}) {
    this._say(`/api/v2/publish/public-ephemeral/${name}`, { msg, opts });
  }

  // Say something. The key makes a repetition harmless; it is tried again while the network is away.
  async publish(tid, msg, { data = {}, subject = "" } = {}) {
    const key = crypto.randomUUID();
    for (let tries = 0; ; tries++) {
      try {
        return await this.post("/publish", { tid, msg, subject, opts: { data } }, { "Idempotency-Key": key });
      } catch (error) {
        if (error.status && ![409, 429].includes(error.status) && error.status < 500 || tries >= 6) throw error;
        await sleep(delay(tries));
      }
    }
  }

  // Everything up to this message was shown: told once somebody is at the screen, never before.
  read(tid, mid) {
    if (!(this._unread.get(tid) >= mid)) this._unread.set(tid, mid);
    this._looked();
  }

  // Whether a person is at the screen: visible, in front, and something was touched lately.
  get attentive() { return this._attention.there(); }

  get(path) { return this._fetch("GET", path); }
  post(path, body, headers = {}) { return this._fetch("POST", path, body, headers); }

  async _fetch(method, path, body, headers = {}) {
    const answer = await fetch(`${this.url}/api/v2${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${await this._fresh()}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const said = await answer.json().catch(() => null);
    if (!answer.ok) throw Object.assign(new Error(said?.detail ?? answer.statusText), { status: answer.status, code: said?.code });
    return said;
  }

  async _fresh() { return typeof this.token === "function" ? this.token() : this.token; }

  // -- the socket

  async _open() {
    clearTimeout(this._timer);
    if (!this._wanted || this._socket || this._opening) return;
    this._opening = true; // The token first: a socket without one takes others' place.
    const token = await Promise.race([this._fresh().catch(() => null), sleep(PATIENCE)]);
    this._opening = false;
    if (!this._wanted) return;
    if (!token) return this._again(this._tries++);
    if (token === this._refused) {
      this._become("refused");
      return typeof this.token === "function" && this._again(LATER);
    }
    this._become("connecting");
    const socket = new WebSocket(`${this.url.replace(/^http/, "ws")}/api/v2/connect/${encodeURIComponent(this.vid)}/${session()}`);
    this._socket = socket;
    const late = setTimeout(() => socket.close(), PATIENCE);
    socket.onopen = () => socket.send(JSON.stringify({ slug: "/api/v2/authenticate", token }));
    socket.onmessage = ({ data }) => {
      clearTimeout(late);
      this._heard = Date.now();
      this._frame(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(late);
      if (socket !== this._socket) return;
      if (code === 4401 && reason !== "token_missing") this._refused = token;
      this._lost(code);
    };
  }

  _lost(code = 1000) {
    clearInterval(this._pings);
    this._socket = null;
    for (const { reject } of this._waiting.values()) reject(new Error("the connection was lost"));
    this._waiting.clear();
    this._become(this._wanted ? "connecting" : "offline");
    if (this._wanted) this._again(code === 4429 || code === 1013 ? LATER : this._tries++);
  }

  _again(tries) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._open(), delay(tries));
  }

  async _welcome(frame) {
    this.uid = frame.uid ?? null;
    this._start ??= frame.last; // what is younger than our first connection is new to us
    this._broadcasts = frame.broadcasts;
    for (const tid of [frame.thread, frame.broadcasts]) {
      if (tid && !this._threads.has(tid)) this._threads.set(tid, { last: this._start, seen: new Map() });
    }
    this._pings = setInterval(() => this._ping(), PING);
    this._become("online");
    for (const name of this._channels) this._say(`/api/v2/subscribe/public-ephemeral/${name}`);
    await Promise.allSettled([...this._threads.keys()].map((tid) => this._resume(tid)));
    this._tries = 0;
    this._looked();
  }

  // Ask for what was missed since the last message that was shown; in portions, when it is much.
  async _resume(tid) {
    for (let more = true; more; ) {
      const thread = this._threads.get(tid);
      if (!thread) return;
      const since = thread.last && made(thread.last) - OVERLAP;
      const seen = [...thread.seen.keys()].filter((mid) => made(mid) >= since);
      try {
        const answer = await this._ask("/api/v2/subscribe/thread", { tid, after: thread.last, seen });
        more = answer.more === true;
      } catch (error) {
        if (!error.after) throw error;
        await sleep(error.after * 1000 * (1 + Math.random() / 4)); // the quota of this minute is used up
      }
    }
  }

  _ping() {
    const sent = Date.now();
    this._say("/ping", { active: this.attentive });
    setTimeout(() => { if (this._heard < sent) this._socket?.close(); }, PATIENCE);
  }

  _say(slug, more = {}) {
    if (this._socket?.readyState !== WebSocket.OPEN || this.state !== "online") return false;
    this._socket.send(JSON.stringify({ slug, ...more }));
    return true;
  }

  _ask(slug, more) {
    const ref = String(++this._ref);
    return new Promise((resolve, reject) => {
      if (!this._say(slug, { ...more, ref })) return reject(new Error("not connected"));
      this._waiting.set(ref, { resolve, reject });
    });
  }

  // -- what comes

  _frame(frame) {
    const asked = this._waiting.get(frame.ref);
    if (asked) {
      this._waiting.delete(frame.ref);
      return frame.ok ? asked.resolve(frame) : asked.reject(Object.assign(new Error(frame.msg), { code: frame.code, after: frame.retry_after }));
    }
    const { slug } = frame;
    if (slug === "/api/v2/authenticate" && frame.ok) return this._welcome(frame);
    if (slug === "/close") return this._tell("refused", frame);
    if (slug === "/person") return this._delivery(frame);
    if (slug === "/withdraw") return this._tell("withdraw", frame.opts);
    if (slug.startsWith("/thread/")) return this._message(slug.slice(8), frame);
    if (slug === "/broadcast/system") return this._message(this._broadcasts, frame);
    if (slug.startsWith("/public-ephemeral/")) return this._tell("whisper", { name: slug.slice(18), ...frame });
  }

  _message(tid, frame) {
    const mid = frame.opts?.mid;
    const thread = this._threads.get(tid);
    if (!thread) return; // left meanwhile
    if (mid) {
      const { seen } = thread;
      if (seen.has(mid)) return;
      seen.set(mid, true);
      if (seen.size > KEPT) seen.delete(seen.keys().next().value);
      if (!thread.last || thread.last < mid) thread.last = mid;
    }
    this._tell("message", { tid, mid, broadcast: tid === this._broadcasts, text: frame.msg, sender: frame.sender, opts: frame.opts ?? {}, mine: frame.sender !== null && frame.sender === this.uid });
  }

  // A delivery counts as accepted only when somebody saw it: an idle desktop leaves it to the phone.
  _delivery(frame) {
    const repeated = this._deliveries.has(frame.id);
    if (!this.attentive && !repeated) return;
    this._deliveries.add(frame.id);
    if (!repeated) this._tell("delivery", { id: frame.id, ...frame.opts });
    this._say("/api/v2/ack", { id: frame.id });
  }

  _looked() {
    if (!this.attentive) return;
    for (const [tid, mid] of this._unread) if (this._say("/api/v2/read", { tid, mid })) this._unread.delete(tid);
  }

  _become(state) {
    if (state === this.state) return;
    this.state = state;
    this._tell("state", state);
  }

  _tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
}

// -- push

// Register the service worker and this browser's push subscription; answers the registration. Call it from a
// click: browsers ask for permission only then. Throws with a text that can be shown.
export async function enlist(exchange, { worker = "/sw.js" } = {}) {
  if (!("serviceWorker" in navigator) || !("PushManager" in globalThis)) throw new Error("This browser has no web push.");
  if ((await Notification.requestPermission()) !== "granted") throw new Error("Notifications are not allowed for this site.");
  await navigator.serviceWorker.register(worker);
  const registration = await navigator.serviceWorker.ready;
  const { key } = await exchange.get("/push/key");
  const current = await registration.pushManager.getSubscription();
  const subscription = current ?? (await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) }));
  await exchange.post("/enlist", subscription.toJSON());
  return registration;
}

// -- small things

function delay(tries) {
  const longest = Math.min(FIRST_DELAY * 2 ** tries, LONGEST_DELAY);
  return longest * (0.5 + Math.random() / 2);
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const made = (mid) => parseInt(mid.replaceAll("-", "").slice(0, 12), 16); // a UUIDv7 begins with its time in ms

function bytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

// This device, for as long as the browser keeps its storage.
function visitor() {
  try {
    return (localStorage.msgxcVisitor ??= crypto.randomUUID());
  } catch { return crypto.randomUUID(); }
}

// A timeuuid (RFC 9562 section 5.1), kept by the tab for at most 47 hours.
function session() {
  const [kept, at] = (stored("msgxcSession") ?? "").split("|");
  if (kept && Date.now() - at < 47 * 3_600_000) return kept;
  const time = (BigInt(Date.now()) + 12_219_292_800_000n) * 10_000n;
  const hex = time.toString(16).padStart(16, "0");
  const random = crypto.randomUUID().replaceAll("-", "");
  const fresh = `${hex.slice(8)}-${hex.slice(4, 8)}-1${hex.slice(1, 4)}-${random.slice(16, 20)}-${random.slice(20)}`;
  try { sessionStorage.msgxcSession = `${fresh}|${Date.now()}`; } catch { /* private mode: one for each connection */ }
  return fresh;
}

function stored(name) {
  try { return sessionStorage[name]; } catch { return undefined; }
}

function attention(came) {
  if (typeof document === "undefined") return { there: () => false };
  let last = Date.now();
  const touched = () => { last = Date.now(); came(); };
  for (const type of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
    addEventListener(type, touched, { passive: true, capture: true });
  }
  for (const type of ["focus", "visibilitychange"]) addEventListener(type, () => came(), true);
  return { there: () => document.visibilityState === "visible" && document.hasFocus() && Date.now() - last < IDLE };
}
