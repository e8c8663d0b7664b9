// A picture that can't be drawn says so once, not in each row.
const told = () => document.getElementById("unread").hidden = false;
const first = document.querySelector(".cut image");
first?.addEventListener("error", told);
