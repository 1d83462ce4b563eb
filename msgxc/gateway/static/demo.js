// The demo page: a guest, one thread, one browser that may be enlisted.
import { Exchange, enlist } from "/client.js";

const TYPING = "demo-thread-typing"; // a public ephemeral channel
const $ = (id) => document.getElementById(id);
const guest = recall();
const clock = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
let exchange, lastSender, typed = 0, clears, hides;

if (guest) enter(guest);
$("join").addEventListener("submit", join);

async function join(event) {
  event.preventDefault();
  const name = $("name").value.trim(), problem = $("join").querySelector(".problem");
  if (!name) return;
  try {
    const answer = await fetch("/demo/guest", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }) });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const made = { name, ...(await answer.json()) };
    try { sessionStorage.demoGuest = JSON.stringify(made); } catch { /* private mode */ }
    enter(made);
  } catch (error) {
    problem.textContent = `That did not work: ${error.message}`;
    problem.hidden = false;
  }
}

async function enter({ name, token, tid, uid }) {
  $("door").hidden = true;
  $("room").hidden = false;
  exchange = globalThis.exchange = new Exchange({ token });
  exchange.addEventListener("state", ({ detail }) => state(detail));
  exchange.addEventListener("message", ({ detail }) => show(tid, detail));
  exchange.addEventListener("withdraw", ({ detail }) => withdraw(detail.mid));
  exchange.addEventListener("delivery", ({ detail }) => tell(detail.title ? `${detail.title}: ${detail.body}` : detail.body));
  exchange.addEventListener("whisper", ({ detail }) => typing(detail));
  exchange.addEventListener("refused", ({ detail }) => refused(detail));
  exchange.uid = uid; // so that the history knows what is ours
  compose(name, tid);
  notify();
  exchange.tune(TYPING);
  try {
    await exchange.listen(tid);
  } catch (error) {
    if (error.status === 401) return leave();
    tell(`The past could not be read: ${error.message}`, true);
  }
  exchange.connect();
  $("text").focus({ preventScroll: true });
}

function state(now) {
  $("state").dataset.state = now;
  $("state").textContent = { online: "connected", connecting: "connecting …", offline: "offline", refused: "not let in" }[now];
}

function show(tid, { mid, text, sender, opts, mine, tid: of }) {
  const name = sender ? named(opts) || "Somebody" : "The exchange";
  const item = document.createElement("li");
  item.dataset.mid = mid ?? "";
  item.classList.toggle("mine", mine);
  const who = `${sender}${name}`;
  if (who !== lastSender) {
    item.classList.add("first");
    item.append(part("span", sender ? "who" : "who exchange", name));
  }
  lastSender = who;
  const time = part("time", "", clock.format(new Date(opts.created ?? Date.now())));
  item.append(part("div", "text", text), time);
  const list = $("messages"), atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 120;
  list.append(item);
  if (atEnd || mine) list.scrollTop = list.scrollHeight;
  if (mid && !mine && of === tid) exchange.read(of, mid);
  if (!mine) $("typing").textContent = "\u00a0";
}

function withdraw(mid) {
  const item = $("messages").querySelector(`[data-mid="${CSS.escape(mid)}"]`);
  if (!item) return;
  item.classList.add("gone");
  item.querySelector(".text").textContent = "This message was withdrawn.";
}

function compose(name, tid) {
  const text = $("text"), send = $("compose").querySelector("button");
  const grow = () => {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
    send.disabled = !text.value.trim();
  };
  text.addEventListener("input", () => {
    grow();
    if (text.value && Date.now() - typed > 2000) {
      typed = Date.now();
      exchange.whisper(TYPING, "typing", { name });
    }
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("compose").requestSubmit();
    }
  });
  $("compose").addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = text.value.trim();
    if (!said) return;
    text.value = "";
    typed = 0;
    grow();
    try {
      await exchange.publish(tid, said, { subject: name, data: { name } });
    } catch (error) {
      text.value = text.value || said;
      grow();
      tell(`It was not sent: ${error.message}`, true);
    }
  });
}

function typing({ name, opts, sender }) {
  if (name !== TYPING || sender === exchange.uid) return;
  $("typing").textContent = `${named(opts) || "Somebody"} is writing …`;
  clearTimeout(clears);
  clears = setTimeout(() => ($("typing").textContent = "\u00a0"), 4000);
}

function notify() {
  const button = $("notify");
  const done = () => {
    button.disabled = true;
    button.textContent = "Notified";
  };
  if (globalThis.Notification?.permission === "granted") {
    navigator.serviceWorker?.getRegistration().then((found) => found?.pushManager.getSubscription()).then((found) => found && done());
  }
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await enlist(exchange);
      done();
      tell("This browser is enlisted: what you miss comes as a notification.");
    } catch (error) {
      button.disabled = false;
      tell(error.message, true);
    }
  });
}

function refused({ code, msg }) {
  if (code.startsWith("token_")) return leave();
  tell(msg, true);
}

function leave() {
  try { delete sessionStorage.demoGuest; } catch { /* private mode */ }
  location.reload();
}

// Anybody may write anything into `opts`: a name is a text.
function named(opts) {
  const name = typeof opts?.name === "string" ? opts.name.slice(0, 40) : "";
  return reserved(name) ? "" : name;
}

// Nobody speaks as the exchange but the exchange, whose messages have no sender.
function reserved(name) {
  return name.normalize("NFKC").toLowerCase().replace(/[^\p{L}]/gu, "") === "theexchange";
}

function tell(text, problem = false) {
  const told = $("told");
  told.textContent = text;
  told.classList.toggle("problem", problem);
  told.hidden = false;
  clearTimeout(hides);
  hides = setTimeout(() => (told.hidden = true), 8000);
}

function part(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  return element;
}

function recall() {
  try { return JSON.parse(sessionStorage.demoGuest ?? "null"); } catch { return null; }
}
