export default ({ change }) => ({ text: change.data.text });
