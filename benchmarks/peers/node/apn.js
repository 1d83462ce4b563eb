// node-apn alone: apn.js SANDBOX_DIR MESSAGES IN_FLIGHT SECONDS. As peers/go/main.go; prints the same JSON.
'use strict';
const fs = require('fs');
const apn = require('@parse/node-apn');

const [folder, file, workers, seconds] = process.argv.slice(2);
const at = JSON.parse(fs.readFileSync(`${folder}/sandbox.json`));
const messages = fs.readFileSync(file, 'utf8').trim().split('\n').map(line => JSON.parse(line));
const provider = new apn.Provider({
  token: { key: at.apns.key_file, keyId: at.apns.key_id, teamId: at.apns.team_id },
  address: at.apns.host,
  port: at.apns.port,
  ca: fs.readFileSync(at.ca),
  production: true,
});

let taken = 0;
async function send(message) {
  const note = new apn.Notification();
  note.topic = at.apns.topic;
  note.alert = { title: message.title, body: message.body };
  note.sound = 'default';
  note.payload = { url: message.url };
  note.expiry = Math.floor(Date.now() / 1000) + 14400;
  note.pushType = 'alert';
  const said = await provider.send(note, message.token);
  if (said.failed.length) throw new Error(JSON.stringify(said.failed[0]));
}

function run(until) {
  const work = async () => {
    while (Date.now() < until) await send(messages[taken++ % messages.length]);
  };
  return Promise.all(Array.from({ length: Number(workers) }, work));
}

async function main() {
  await send(messages[0]);
  await run(Date.now() + 300);
  taken = 0;
  const cpu = process.cpuUsage(), began = process.hrtime.bigint();
  await run(Date.now() + 1000 * Number(seconds));
  const wall = Number(process.hrtime.bigint() - began) / 1e9, used = process.cpuUsage(cpu);
  const peak_mb = process.resourceUsage().maxRSS / 1000;
  console.log(JSON.stringify({ sent: taken, wall, cpu: (used.user + used.system) / 1e6, peak_mb, taken: 0 }));
  process.exit(0);
}

main().catch(error => { console.error(error); process.exit(1); });
