// Keeps the status page up to date: fetches status.json and changes the values in place. Focus,
// selection and the place of the page stay. Texts are set as text, never as HTML.
//
// The attributes that this program reads are described in src/admin/page/html.rs.
"use strict";

(() => {
  const FETCH_EVERY = 5000;
  const ANSWER_WITHIN = 4000;
  const RATE_OVER = 60000;

  const $ = (id) => document.getElementById(id);
  const member = (data, path) =>
    path === "." ? data : path.split(".").reduce((value, name) => value?.[name], data);
  const isThere = (value) => Array.isArray(value) ? value.length > 0 : Boolean(value);

  // The clock of the gate: what it told, and when.
  const clock = { told: 0, at: 0 };
  const setClock = (time) => Object.assign(clock, { told: Date.parse(time), at: performance.now() });
  const now = () => clock.told + performance.now() - clock.at;
  const absolute = (millis) => new Date(millis).toISOString().replace(/\.\d+Z$/, "Z");

  function span(seconds) {
    const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
    if (days > 0) return `${days} d ${hours} h`;
    if (hours > 0) return `${hours} h ${minutes} min`;
    if (minutes > 0) return `${minutes} min ${Math.floor(seconds % 60)} s`;
    return `${Math.floor(seconds)} s`;
  }

  function relative(time) {
    const seconds = Math.round((now() - Date.parse(time)) / 1000);
    return seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
  }

  // Leaves an element alone while the reader has selected something in it.
  function setText(element, text) {
    if (element.textContent === text) return;
    const selection = getSelection();
    if (!selection.isCollapsed && selection.containsNode(element, true)) return;
    if (element.childNodes.length === 1 && element.firstChild.nodeType === Node.TEXT_NODE) {
      element.firstChild.data = text;
    } else {
      element.textContent = text;
    }
  }

  function setState(element, state, word) {
    element.dataset.state = state;
    setText(element, word);
  }

  function tick() {
    for (const element of document.querySelectorAll("time[datetime]")) {
      const time = element.dateTime;
      if (!time) continue;
      setText(element, element.dataset.as === "both" ? `${relative(time)} (${time})` : relative(time));
    }
  }

  // The last counts of each element, each with its time.
  const counts = new WeakMap();

  function rate(element, number) {
    const at = performance.now();
    let seen = counts.get(element) ?? [];
    // A smaller number is that of a gate that was started again.
    if (seen.length > 0 && seen.at(-1).number > number) seen = [];
    seen.push({ at, number });
    // The first one kept may be a little older, so that the rate covers the whole minute.
    while (seen.length > 2 && seen[1].at <= at - RATE_OVER) seen.shift();
    counts.set(element, seen);
    const seconds = (at - seen[0].at) / 1000;
    if (number === 0 || seen.length < 2 || seconds < 1) return "";
    const perSecond = (number - seen[0].number) / seconds;
    if (perSecond === 0) return "0/s";
    return perSecond < 0.01 ? "<0.01/s" : `${perSecond.toFixed(perSecond < 10 ? 2 : 0)}/s`;
  }

  const up = (value) => {
    if (value.up === false) return ["down", "down"];
    if (value.failing) return ["down", "up, with problems"];
    return value.up ? ["up", "up"] : ["unknown", "not asked yet"];
  };
  const choice = (bad, good) => (value) => value ? bad : good;
  const STATES = {
    up,
    breaker: (word) => [word === "closed" ? "up" : "down", word],
    draining: choice(["down", "draining"], ["up", "serving"]),
    expired: choice(["down", "expired"], ["up", "expires"]),
    log: choice(["down", "cannot be written"], ["up", "works"]),
    traces: choice(["down", "not taken"], ["up", "taken"]),
    redis: choice(["up", "up"], ["down", "down"]),
    reload: choice(["up", "applied"], ["down", "not applied"]),
  };

  const FORMS = {
    text: (element, value) => setText(element, String(value)),
    size: (element, value) => setText(element, String(value.length)),
    span: (element, value) => setText(element, span(value)),
    percent: (element, value) => setText(element, `${(value * 100).toFixed(1)} %`),
    count: (element, value) => {
      setText(element, String(value));
      setText(element.nextElementSibling, rate(element, value));
    },
    time: (element, value) => {
      element.dateTime = value;
      element.title = value;
    },
    both: (element, value) => FORMS.time(element, value),
    verdict: (element, value) => {
      element.dataset.state = value.length > 0 ? "trouble" : "well";
    },
    runbook: (element, value) => {
      if (/^[a-z-]+$/.test(value)) element.href = `runbook#${value}`;
    },
  };

  function show(element, data) {
    const { if: shownIf, unless, path, as, list } = element.dataset;
    if (shownIf !== undefined) element.hidden = !isThere(member(data, shownIf));
    if (unless !== undefined) element.hidden = isThere(member(data, unless));
    if (path !== undefined) {
      const value = member(data, path);
      if (value === null || value === undefined) {
        // It is hidden.
      } else if (Object.hasOwn(STATES, as)) {
        setState(element, ...STATES[as](value));
      } else if (Object.hasOwn(FORMS, as)) {
        FORMS[as](element, value);
      }
    }
    if (list !== undefined) {
      showList(element, member(data, list) ?? []);
    } else {
      for (const child of element.children) show(child, data);
    }
  }

  // Changes, adds, removes and orders the items. An item that goes on keeps its elements.
  function showList(element, items) {
    const template = element.querySelector(":scope > template");
    // Several items may have one id.
    const old = new Map();
    for (const child of element.children) {
      if (child === template) continue;
      if (!old.has(child.dataset.id)) old.set(child.dataset.id, []);
      old.get(child.dataset.id).push(child);
    }
    let place = element.firstElementChild;
    for (const item of items) {
      const id = element.dataset.key === "" ? item : item[element.dataset.key];
      let child = old.get(id)?.shift();
      if (child === undefined) {
        child = template.content.firstElementChild.cloneNode(true);
        child.dataset.id = id;
      }
      show(child, item);
      if (child === place) {
        place = place.nextElementSibling;
      } else {
        element.insertBefore(child, place);
      }
    }
    for (const gone of [...old.values()].flat()) gone.remove();
  }

  let problems = null;
  let version = null;
  let lostSince = null;

  // Tells a screen reader, in a region that nothing else changes.
  function say(text) {
    $("spoken").textContent = text;
  }

  function update(status) {
    setClock(status.now);
    const focused = document.activeElement;
    show(document.body, status);
    if (focused !== document.activeElement && focused !== document.body) {
      // It was moved or removed.
      (focused.isConnected ? focused : $("problems-title")).focus({ preventScroll: true });
    }
    const number = status.problems.length;
    const ids = status.problems.map((problem) => problem.id).join("\n");
    const words = number === 0 ? "No known problems" : `Known problems: ${number}`;
    if (lostSince !== null) {
      say(`The gate answers again. ${words}.`);
    } else if (problems !== null && ids !== problems) {
      say(`${words}.`);
    }
    [problems, lostSince] = [ids, null];
    document.title = `${number > 0 ? `(${number}) ` : ""}moorgate ${location.host}`;
    version ??= status.version;
    $("replaced").hidden = version === status.version;
    $("rates").hidden = false;
    $("lost").hidden = true;
    document.body.classList.remove("old");
    tick();
  }

  function lost(why) {
    if (lostSince === null) {
      lostSince = absolute(now());
      say("The gate cannot be reached.");
    }
    const since = $("lost-since");
    [since.dateTime, since.title, since.dataset.as] = [lostSince, lostSince, "both"];
    setText($("lost-why"), why);
    $("lost").hidden = false;
    document.title = "(!) moorgate " + location.host;
    document.body.classList.add("old");
    tick();
  }

  async function fetchStatus() {
    let status;
    try {
      const response = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN) });
      if (!response.ok) return lost(`it answers ${response.status}`);
      status = await response.json();
    } catch (error) {
      const isLate = error.name === "TimeoutError";
      return lost(isLate ? `no answer within ${ANSWER_WITHIN / 1000} s` : "no answer that can be read");
    }
    update(status);
  }

  let paused = false;
  let fetching = null;
  let ticking = null;

  function go() {
    const runs = !paused && document.visibilityState === "visible";
    if (runs === (fetching !== null)) return;
    if (runs) {
      fetching = setInterval(fetchStatus, FETCH_EVERY);
      ticking = setInterval(tick, 1000);
      fetchStatus();
    } else {
      clearInterval(fetching);
      clearInterval(ticking);
      fetching = null;
    }
  }

  setClock(document.querySelector("#as-of time").dateTime);
  const button = $("pause");
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    go();
  });
  document.addEventListener("visibilitychange", go);
  go();
})();
